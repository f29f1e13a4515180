"""A chat client that comes back: nothing lost, nothing twice. Needs the package `websockets`, 10 or newer.

    python3 client.py ws://127.0.0.1:8080/ws alice lobby

A line is said to the room, `@bob psst` to bob.
"""

import asyncio, json, random, re, sys, threading, time, uuid
import websockets

FINAL = [1002, 1003, 1007, 1008, 1009, 4001, 4003]
PASSING = ["unavailable", "internal", "rate_limited"]


class Chat:
    def __init__(self, url, name, room, show):
        self.url, self.name, self.room, self.show = url, name, room, show
        self.places, self.seen, self.unsent = {}, {}, []
        self.ready, self.tries, self.dedupe = False, 0, 300.0

    def say(self, text):
        self.unsent.append({"text": text, "id": str(uuid.uuid4())})
        if len(self.unsent) == 1:
            asyncio.ensure_future(self.next())

    async def run(self):
        while True:
            code, reason = 1006, ""
            try:
                # It pings by itself, and ends a connection over which nothing comes back.
                async with websockets.connect(self.url, max_size=None) as self.ws:
                    # Private messages begin with the first request: it has to be the one that says from where.
                    await self.ask("Auth", self.since("private"), "auth")
                    await self.ask("Enter", {"room": self.room, **self.since("room")}, "enter")
                    try:
                        async for text in self.ws:
                            if ended := await self.receive(json.loads(text)):
                                code, reason = ended
                                break
                        else:
                            code, reason = self.ws.close_code, self.ws.close_reason
                    except websockets.ConnectionClosed:
                        code, reason = self.ws.close_code, self.ws.close_reason
            except (OSError, asyncio.TimeoutError, websockets.WebSocketException):
                pass  # Not even connected.
            self.ready = False
            if code in FINAL:
                return self.show(f"-- closed: {code} {reason}")
            told = re.search(r"retry_after_ms=(\d+)", reason or "")
            await asyncio.sleep(int(told[1]) / 1000 if told else random.uniform(0, min(20, 2**self.tries)))
            self.tries += 1

    def since(self, log):
        return {"since": self.places[log]} if log in self.places else {}

    async def ask(self, kind, body, id):
        try:
            body = {"sender_username": self.name, **body}
            await self.ws.send(json.dumps({"message_type": kind, "message_body": body, "id": id}))
        except websockets.ConnectionClosed:
            pass  # Whoever reads notices, and all of it is asked again.

    async def receive(self, frame):
        """What ends the connection, if anything does: a close code and its reason."""
        kind, body, id = frame["message_type"], frame.get("message_body", {}), frame.get("id")
        place = {key: body.get(key) for key in ("epoch", "seq", "message_id")}
        if kind in ("GroupChat", "PrivateChat"):
            self.places["private" if kind == "PrivateChat" else "room"] = place
            if body["message_id"] not in self.seen:
                self.seen[body["message_id"]] = True
                if len(self.seen) > 5_000:
                    del self.seen[next(iter(self.seen))]
                private = " (private)" if kind == "PrivateChat" else ""
                self.show(f"{body['sender_username']}{private}: {body['content']}")
        if kind == "Gap" or body.get("recovered") is False:
            self.show("-- messages may be missing here")
        self.dedupe = body.get("dedupe_ms", self.dedupe * 1000) / 1000
        if kind == "Ack" and id == "enter":
            self.places.setdefault("room", place)
            self.ready, self.tries = True, 0
            await self.next()
        elif kind == "Error" and body["code"] in PASSING:
            return (1006, f"retry_after_ms={body.get('retry_after_ms', 1000)}") if id else None
        elif kind == "Error" and id in ("auth", "enter"):
            return 4003, body["message"]
        elif id and self.unsent and id == self.unsent[0]["id"]:
            item = self.unsent.pop(0)
            if kind == "Error":
                self.show(f"-- not sent: {item['text']} ({body['message']})")
            await self.next()

    async def next(self):
        """One at a time, so that none overtakes another; always under the id of its first time."""
        while self.ready and self.unsent:
            item = self.unsent[0]
            if time.monotonic() - item.setdefault("first", time.monotonic()) > self.dedupe - 10:
                self.show(f"-- may have been sent: {self.unsent.pop(0)['text']}")
                continue
            if to := re.fullmatch(r"@(\S+) (.*)", item["text"], re.DOTALL):
                body = {"target_username": to[1], "content": to[2]}
                return await self.ask("PrivateChat", body, item["id"])
            return await self.ask("GroupChat", {"room": self.room, "content": item["text"]}, item["id"])


async def main(url, name, room):
    chat = Chat(url, name, room, lambda line: print(line, flush=True))
    loop = asyncio.get_running_loop()
    lines = lambda: [loop.call_soon_threadsafe(chat.say, line.rstrip("\n")) for line in sys.stdin]
    threading.Thread(target=lines, daemon=True).start()
    await chat.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
