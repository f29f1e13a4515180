import aiohttp

import lines


async def connect(url, ready):
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        ready(socket.send_str, socket.close)
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                await lines.take(message.data)
            elif message.type is aiohttp.WSMsgType.CLOSE:
                return message.data, message.extra
            else:  # CLOSED, CLOSING or ERROR
                return socket.close_code, str(socket.exception() or "")


lines.drive(connect)
