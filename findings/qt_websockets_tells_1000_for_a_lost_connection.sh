#!/usr/bin/env bash
# Qt WebSockets 6.12.0, through PySide6-Addons 6.12.0.
#
# If the server ends the TCP connection without a close frame, or refuses the upgrade, `QWebSocket::closeCode()` is
# `CloseCodeNormal` (1000, "normal closure") when `disconnected` is emitted, although Qt has `CloseCodeAbnormalDisconnection`
# (1006) for this. A program that decides by the code takes the crash of a server for a good end.
#
# Seen: 1000 after the end of the connection, 1000 after a 503, 4000 after a close frame with 4000.
#
# Needs Python 3.10 or newer.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check PySide6-Addons==6.12.0
cat >program.py <<'END'
import base64
import hashlib
import socket
import sys
import threading

from PySide6.QtCore import QCoreApplication, QTimer, QUrl
from PySide6.QtWebSockets import QWebSocket

application = QCoreApplication(sys.argv)


def serve(listener, last, go):
    """Accepts one upgrade, sends these bytes once the client is open, and ends the connection. Without bytes, refuses it."""
    stream, _ = listener.accept()
    request = b""
    while b"\r\n\r\n" not in request:
        request += stream.recv(4096)
    if last is None:
        stream.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    else:
        lines = request.split(b"\r\n")
        key = next(line.split(b": ")[1] for line in lines if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        stream.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        go.wait(20)
        stream.sendall(last)
    stream.close()


def told_after(last):
    """The code of a client when it is disconnected."""
    listener = socket.create_server(("127.0.0.1", 0))
    go = threading.Event()
    threading.Thread(target=serve, args=(listener, last, go), daemon=True).start()
    client = QWebSocket()
    codes = []
    client.connected.connect(go.set)
    client.disconnected.connect(lambda: (codes.append(client.closeCode().value), application.quit()))
    QTimer.singleShot(20_000, application.quit)
    client.open(QUrl(f"ws://127.0.0.1:{listener.getsockname()[1]}/"))
    application.exec()
    return codes


lost, refused, framed = told_after(b""), told_after(None), told_after(b"\x88\x02" + (4000).to_bytes(2, "big"))
print(f"after the end of the connection: {lost}, after a 503: {refused}, after a close frame with 4000: {framed}")
sys.exit((lost, refused, framed) != ([1000], [1000], [4000]))
END
environment/bin/python program.py
