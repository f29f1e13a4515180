import threading

import websocket

import lines

current = {}


def session(url):
    app = websocket.WebSocketApp(
        url,
        on_open=lambda app: lines.opened(),
        on_message=lambda app, text: lines.work(text),
        on_error=lambda app, error: lines.failed(error),
        on_close=lambda app, code, reason: lines.closed(code, reason),
    )
    current["app"] = app
    # With `reconnect=`, neither code nor reason are told.
    app.run_forever(**({"reconnect": 1} if lines.UNADVISED else {"suppress_origin": True}))


def handle(command, argument):
    if command == "open":
        threading.Thread(target=session, args=[argument], daemon=True).start()
    elif command == "send":
        current["app"].send(argument)
    else:
        current["app"].close()


lines.read(handle)
threading.Event().wait()
