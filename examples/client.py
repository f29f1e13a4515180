"""A chat client that comes back: nothing lost, nothing twice, no gap hidden. Needs `websockets`, 10 or newer.

    python3 client.py ws://127.0.0.1:8080/ws alice lobby

What a client for daily use adds, such as an end to what stays unsent for 5 minutes: docs/clients.md.
"""
import asyncio, collections, contextlib, functools, json, random, re, sys, threading, time, uuid, websockets

PASSING = ("unavailable", "internal", "rate_limited", "not_in_room")  # Send it again; without a time, after 5 s.
FINAL = r"received (1003|1007|1008|1009|4001|4003)|HTTP (401|403|421)|unauthorized|forbidden|identity_mismatch|too_many|invalid_"

async def chat(url, who, show=functools.partial(print, flush=True)):
    since, seen, unsent, is_in, entered, tries = {}, collections.deque(maxlen=5000), {}, False, 0, 0

    def ask(kind, id, body):
        # What was shown, for the server: a pong proves only that the library has it.
        received = since.get("Auth", {"epoch": "", "seq": 0})
        frame = {"message_type": kind, "id": id, "received": received, "message_body": {**who, **body}}
        return socket.send(json.dumps(frame))

    # Says what was shown, and that this client is there: some libraries do not answer pings.
    async def tell(every):
        while await asyncio.sleep(every, True):
            with contextlib.suppress(websockets.WebSocketException):
                if is_in: await ask("Ping", None, {})

    # One at a time, so that none overtakes another; a repeat keeps its id, so that it is stored once.
    async def say(line=None):
        if line: unsent[str(uuid.uuid4())] = {"content": line}
        if is_in and unsent and (len(unsent) == 1 or not line): await ask("GroupChat", *next(iter(unsent.items())))

    def read(loop):
        for line in filter(str.strip, sys.stdin): asyncio.run_coroutine_threadsafe(say(line.rstrip("\n")), loop)

    threading.Thread(target=read, args=[asyncio.get_running_loop()], daemon=True).start()
    telling = asyncio.create_task(tell(20))
    while True:
        try:
            async with websockets.connect(url) as socket:
                # Private messages begin with the first request: it has to be the one that says from where.
                for kind in ("Auth", "Enter"): await ask(kind, kind, {"since": since.get(kind)})
                while True:
                    kind, id, body = map(json.loads(await socket.recv()).get, ("message_type", "id", "message_body"))
                    position, code = {key: body.get(key) for key in ("epoch", "seq", "message_id")}, body.get("code")
                    if kind in ("GroupChat", "PrivateChat"):
                        if body["message_id"] not in seen: show(f"{body['sender_username']}: {body['content']}")
                        seen.append(body["message_id"])
                        since["Enter" if kind == "GroupChat" else "Auth"] = position
                    lost = kind == "Gap" or body.get("recovered") is False
                    if lost or code: show("--", body.get("message", "messages may be missing here"))
                    if id and code and (not is_in or code in PASSING): raise OSError({"retry_after_ms": 5000, **body})
                    if id == "Enter": is_in, entered, since["Enter"] = True, time.monotonic(), since.get("Enter", position)
                    if id == "Enter" and telling.cancel():
                        telling = asyncio.create_task(tell(min(20, body.get("idle_timeout_ms", 40000) / 2000)))
                    if unsent.pop(id, None) or id == "Enter": await say()
        except (OSError, asyncio.TimeoutError, websockets.WebSocketException) as error:
            ended = str(error)
            told = re.search(r"retry_after_ms\D+(\d+)", ended)
            answer = getattr(error, "response", error)  # Before version 14 of websockets, the error itself.
            seconds = re.fullmatch(r"\d+", getattr(answer, "headers", {}).get("Retry-After", ""))
            pause = int(told[1]) / 1000 if told else int(seconds[0]) if seconds else 0
            if re.search(FINAL, ended) and "retry_after_ms=" not in ended: return show("-- closed:", ended)
            if is_in and time.monotonic() - entered >= 60: tries = 0
            # Balancers may report a lost connection as 1000, and codes that they do not know as 1002. It may still be our fault.
            if is_in and not told and re.search("received 100[02]", ended): tries = max(tries, 3)
            is_in, tries = False, tries + 1
            # The server may tell everybody the same time, again and again.
            await asyncio.sleep(pause + random.uniform(0, min(20, 2 ** min(tries, 6) / 2)))

asyncio.run(chat(sys.argv[1], {"sender_username": sys.argv[2], "room": sys.argv[3]}))
