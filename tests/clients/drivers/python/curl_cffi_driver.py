import asyncio
import json

import curl_cffi

import lines


async def keep_alive(send, idle_timeout_ms):
    """The library answers no pings while nothing is sent."""
    while True:
        await asyncio.sleep(idle_timeout_ms / 2_000)
        await send(json.dumps({"message_type": "Ping"}))


async def connect(url, ready):
    async with curl_cffi.AsyncSession() as session, session.ws_connect(url) as socket:
        ready(socket.send_str, socket.close)
        pings = None
        try:
            while True:
                text = await socket.recv_str()
                idle_timeout_ms = json.loads(text).get("message_body", {}).get("idle_timeout_ms")
                if idle_timeout_ms and not pings and not lines.UNADVISED:
                    pings = asyncio.create_task(keep_alive(socket.send_str, idle_timeout_ms))
                await lines.take(text)
        except curl_cffi.CurlError as error:
            if socket.close_code is None:
                raise
            return socket.close_code, socket.close_reason
        finally:
            if pings:
                pings.cancel()


lines.drive(connect)
