import trio
import trio_websocket

import lines


async def session(url, current):
    try:
        async with trio_websocket.open_websocket_url(url) as socket:
            current.update(send=socket.send_message, close=socket.aclose)
            lines.opened()
            try:
                while True:
                    await lines.take(await socket.get_message(), trio.sleep)
            except trio_websocket.ConnectionClosed as end:
                # No reason if there was no close frame.
                lines.closed(end.reason.code if end.reason else None, end.reason.reason if end.reason else "")
    except (OSError, trio_websocket.HandshakeError) as error:
        lines.failed(error)


async def main():
    put, commands = trio.open_memory_channel(1000)
    token = trio.lowlevel.current_trio_token()
    lines.read(lambda *command: trio.from_thread.run_sync(put.send_nowait, command, trio_token=token))
    current = {}
    async with trio.open_nursery() as nursery:
        async for command, argument in commands:
            if command == "open":
                nursery.start_soon(session, argument, current)
            elif command == "send":
                await current["send"](argument)
            else:
                await current["close"]()


trio.run(main)
