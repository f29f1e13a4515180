import tornado.websocket

import lines


async def connect(url, ready):
    socket = await tornado.websocket.websocket_connect(url)

    async def close():
        socket.close()

    ready(socket.write_message, close)
    while (text := await socket.read_message()) is not None:
        await lines.take(text)
    return socket.close_code, socket.close_reason


lines.drive(connect)
