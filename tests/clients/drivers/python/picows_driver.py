import asyncio

import picows

import lines


class Listener(picows.WSListener):
    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.CLOSE:
            self.end(int(frame.get_close_code()), frame.get_close_reason())
            if not lines.UNADVISED:
                transport.send_close(frame.get_close_code())
                transport.disconnect()
        else:
            lines.text(frame.get_payload_as_bytes().decode())

    def on_ws_disconnected(self, transport):
        self.end(1006, "")

    def end(self, code, reason):
        if not self.ended.done():
            self.ended.set_result((code, reason))


async def connect(url, ready):
    transport, listener = await picows.ws_connect(Listener, url)

    async def send(text):
        transport.send(picows.WSMsgType.TEXT, text.encode())

    async def close():
        transport.send_close(picows.WSCloseCode.OK)

    ready(send, close)
    return await listener.ended


lines.drive(connect)
