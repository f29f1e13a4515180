import gi

gi.require_version("Soup", "3.0")
from gi.repository import GLib, Soup  # noqa: E402

import lines  # noqa: E402

session = Soup.Session()
current = {}


def opened(_, result, request):
    try:
        socket = session.websocket_connect_finish(result)
    except GLib.Error as error:
        lines.failed(Exception(f"{error.message}, status {int(request.get_status())}"))
        return
    socket.connect("message", lambda _, kind, data: lines.text(data.get_data().decode()))
    socket.connect("error", lambda _, error: lines.failed(error))
    # 0 if there was no close frame.
    socket.connect("closed", lambda _: lines.closed(socket.get_close_code() or None, socket.get_close_data()))
    current["socket"] = socket
    lines.opened()


def handle(command, argument):
    if command == "open":
        request = Soup.Message.new("GET", argument)
        session.websocket_connect_async(request, None, None, GLib.PRIORITY_DEFAULT, None, opened, request)
    elif command == "send":
        current["socket"].send_text(argument)
    else:
        current["socket"].close(1000, None)


lines.read(lambda *command: GLib.idle_add(handle, *command))
GLib.MainLoop().run()
