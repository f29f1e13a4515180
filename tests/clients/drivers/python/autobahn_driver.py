import asyncio

from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol

import lines


async def connect(url, ready):
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    class Protocol(WebSocketClientProtocol):
        def onOpen(self):
            async def send(text):
                self.sendMessage(text.encode())

            async def close():
                self.sendClose(1000)

            ready(send, close)

        def onMessage(self, payload, isBinary):
            lines.text(payload.decode())

        def onClose(self, wasClean, code, reason):
            ended.set_result((code, reason))

    factory = WebSocketClientFactory(url)
    factory.protocol = Protocol
    await loop.create_connection(factory, factory.host, factory.port)
    return await ended


lines.drive(connect)
