import websockets

import lines


async def connect(url, ready):
    async with websockets.connect(url) as socket:
        ready(socket.send, socket.close)
        try:
            while True:
                await lines.take(await socket.recv())
        except websockets.ConnectionClosed as end:
            return (end.rcvd.code, end.rcvd.reason) if end.rcvd else (1006, "")


async def iterate(url, ready):
    async for socket in websockets.connect(url):
        ready(socket.send, socket.close)
        async for text in socket:
            lines.text(text)
        return None, ""


lines.drive(iterate if lines.UNADVISED else connect)
