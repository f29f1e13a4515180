"""The line protocol of tests/clients/driver.rs, for libraries of every kind: with asyncio, with trio, and with threads."""
import asyncio
import base64
import os
import sys
import threading

# Does without what docs/clients.md advises for the library.
UNADVISED = sys.argv[1:] == ["unadvised"]

_free = threading.Event()
_free.set()


def _encode(text):
    return base64.b64encode((text or "").encode()).decode()


def tell(*words):
    print(*words, flush=True)


def opened():
    tell("opened")


def text(data):
    tell("text", _encode(data))


def work(data):
    """Tells a text, and works on it while the test wants that: for threads."""
    text(data)
    _free.wait()


def closed(code, reason):
    tell("closed", "-" if code is None else code, _encode(reason))


def failed(error):
    tell("failed", _encode(f"{type(error).__name__}: {error}"))


def read(handle):
    """Calls `handle(command, argument)` for each line of the input, in a thread of its own. The program ends with the input."""

    def loop():
        for line in sys.stdin:
            command, _, argument = line.strip().partition(" ")
            if command in ("pause", "resume"):
                (_free.clear if command == "pause" else _free.set)()
            else:
                handle(command, base64.b64decode(argument).decode() if command == "send" else argument)
        os._exit(0)

    threading.Thread(target=loop, daemon=True).start()


async def take(data, sleep=asyncio.sleep):
    """The same for asyncio, or for what has another `sleep`."""
    text(data)
    while not _free.is_set():
        await sleep(0.05)


def drive(connect):
    """For asyncio. `connect(url, ready)` opens a connection, calls `ready(send, close)`, tells each text, and returns
    the code and the reason of the end."""

    async def main():
        loop, commands = asyncio.get_running_loop(), asyncio.Queue()
        read(lambda *command: loop.call_soon_threadsafe(commands.put_nowait, command))
        current = {}

        def ready(send, close):
            current.update(send=send, close=close)
            opened()

        async def session(url):
            try:
                closed(*await connect(url, ready))
            except Exception as error:
                failed(error)

        sessions = []
        while True:
            command, argument = await commands.get()
            if command == "open":
                sessions.append(asyncio.create_task(session(argument)))
            elif command == "send":
                await current["send"](argument)
            else:
                await current["close"]()

    asyncio.run(main())
