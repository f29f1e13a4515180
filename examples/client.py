"""A chat client that comes back: nothing lost, nothing twice, no gap hidden. Needs `websockets`, 10 or newer.

    python3 client.py ws://127.0.0.1:8080/ws alice lobby

What a client for daily use adds, such as an end to what stays unsent for 5 minutes: docs/clients.md.
"""
import asyncio, collections, functools, json, random, re, sys, threading, uuid, websockets

PASSING = ("unavailable", "internal", "rate_limited", "not_in_room")  # Send it again; without a time, after 5 s.
FINAL = r"received (1002|1003|1007|1008|1009|4001|4003)|unauthorized|forbidden|identity_mismatch|too_many|invalid_"

async def chat(url, who, show=functools.partial(print, flush=True)):
    since, seen, unsent, is_in, tries = {}, collections.deque(maxlen=5000), {}, False, 0

    def ask(kind, id, body):
        return socket.send(json.dumps({"message_type": kind, "id": id, "message_body": {**who, **body}}))

    # One at a time, so that none overtakes another; a repeat keeps its id, so that it is stored once.
    async def say(line=None):
        if line: unsent[str(uuid.uuid4())] = {"content": line}
        if is_in and unsent and (len(unsent) == 1 or not line): await ask("GroupChat", *next(iter(unsent.items())))

    def read(loop):
        for line in filter(str.strip, sys.stdin): asyncio.run_coroutine_threadsafe(say(line.rstrip("\n")), loop)

    threading.Thread(target=read, args=[asyncio.get_running_loop()], daemon=True).start()
    while True:
        try:
            async with websockets.connect(url) as socket:
                # Private messages begin with the first request: it has to be the one that says from where.
                for kind in ("Auth", "Enter"): await ask(kind, kind, {"since": since.get(kind)})
                while True:
                    kind, id, body = map(json.loads(await socket.recv()).get, ("message_type", "id", "message_body"))
                    position, code = {key: body.get(key) for key in ("epoch", "seq", "message_id")}, body.get("code")
                    if kind in ("GroupChat", "PrivateChat"):
                        since["Enter" if kind == "GroupChat" else "Auth"] = position
                        if body["message_id"] not in seen: show(f"{body['sender_username']}: {body['content']}")
                        seen.append(body["message_id"])
                    lost = kind == "Gap" or body.get("recovered") is False
                    if lost or code: show("--", body.get("message", "messages may be missing here"))
                    if id and code and (not is_in or code in PASSING): raise OSError({"retry_after_ms": 5000, **body})
                    if id == "Enter": is_in, tries, since["Enter"] = True, 0, since.get("Enter", position)
                    if unsent.pop(id, None) or id == "Enter": await say()
        except (OSError, asyncio.TimeoutError, websockets.WebSocketException) as error:
            is_in, tries, ended, told = False, tries + 1, str(error), re.search(r"retry_after_ms\D+(\d+)", str(error))
            if re.search(FINAL, ended): return show("-- closed:", ended)
            await asyncio.sleep(int(told[1]) / 1000 if told else random.uniform(0, min(20, 2 ** min(tries, 6) / 2)))

asyncio.run(chat(sys.argv[1], {"sender_username": sys.argv[2], "room": sys.argv[3]}))
