"""A chat client that comes back: nothing lost, nothing twice, no gap hidden. Needs `websockets`, 10 or newer.

    python3 client.py ws://127.0.0.1:8080/ws alice lobby

What a client for daily use adds, such as an end to what stays unsent for 5 minutes: docs/clients.md.
"""
import asyncio, collections, functools, json, random, re, sys, threading, uuid, websockets

PASSING = ("unavailable", "internal", "rate_limited", "not_in_room")  # Send it again; without a time, after 5 s.
FINAL = r"received (1002|1003|1007|1008|1009|4001|4003)|unauthorized|forbidden|identity_mismatch|too_many|invalid_"

async def chat(url, who, show=functools.partial(print, flush=True)):
    since, seen, unsent, is_in, tries, ended = {}, collections.deque(maxlen=5000), [], False, 0, ""

    async def ask(kind, id, **body):
        await socket.send(json.dumps({"message_type": kind, "id": id, "message_body": {**who, **body}}))

    async def next():  # One at a time, so that none overtakes another; a repeat keeps its id, and is stored once.
        if is_in and unsent: await ask("GroupChat", **unsent[0])

    def read(loop):
        for line in sys.stdin:
            unsent.append({"id": str(uuid.uuid4()), "content": line.rstrip("\n")})
            if len(unsent) == 1: asyncio.run_coroutine_threadsafe(next(), loop)

    threading.Thread(target=read, args=[asyncio.get_running_loop()], daemon=True).start()
    while not re.search(FINAL, ended):
        try:
            async with websockets.connect(url) as socket:
                # Private messages begin with the first request: it has to be the one that says from where.
                for kind in ("Auth", "Enter"): await ask(kind, kind, since=since.get(kind))
                while True:
                    kind, id, body = map(json.loads(await socket.recv()).get, ("message_type", "id", "message_body"))
                    position = {key: body.get(key) for key in ("epoch", "seq", "message_id")}
                    if kind in ("GroupChat", "PrivateChat"):
                        since["Enter" if kind == "GroupChat" else "Auth"] = position
                        if body["message_id"] not in seen: show(f"{body['sender_username']}: {body['content']}")
                        seen.append(body["message_id"])
                    if kind == "Gap" or body.get("recovered") is False: show("-- messages may be missing here")
                    if kind == "Error": show("--", body["message"])
                    if kind == "Error" and id and body["code"] in PASSING: raise OSError({"retry_after_ms": 5000, **body})
                    if kind == "Error" and id and not is_in: raise OSError(body)
                    if id == "Enter": is_in, tries, since["Enter"] = True, 0, since.get("Enter", position)
                    if unsent and id == unsent[0]["id"]: del unsent[0]
                    if id: await next()
        except (OSError, asyncio.TimeoutError, websockets.WebSocketException) as error:
            is_in, tries, ended, told = False, tries + 1, str(error), re.search(r"retry_after_ms\D+(\d+)", str(error))
            await asyncio.sleep(int(told[1]) / 1000 if told else random.uniform(0, min(20, 2**tries / 2)))
    show("-- closed:", ended)

asyncio.run(chat(sys.argv[1], {"sender_username": sys.argv[2], "room": sys.argv[3]}))
