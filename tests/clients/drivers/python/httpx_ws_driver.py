import httpx_ws

import lines


async def connect(url, ready):
    async with httpx_ws.aconnect_ws(url) as socket:
        ready(socket.send_text, socket.close)
        try:
            while True:
                await lines.take(await socket.receive_text())
        except httpx_ws.WebSocketDisconnect as end:
            return end.code, end.reason
        except httpx_ws.WebSocketNetworkError:
            return 1006, ""


lines.drive(connect)
