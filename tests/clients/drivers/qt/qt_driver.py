import sys

from PySide6.QtCore import QCoreApplication, QObject, QUrl, Signal
from PySide6.QtWebSockets import QWebSocket

import lines

application = QCoreApplication(sys.argv)


class Commands(QObject):
    """Brings the commands from their thread to the one of the event loop."""

    came = Signal(str, str)


class Driver:
    def handle(self, command, argument):
        if command == "open":
            # One for each attempt: a QWebSocket that was closed keeps its old code.
            self.socket = socket = QWebSocket()
            socket.connected.connect(lines.opened)
            socket.textMessageReceived.connect(lines.text)
            socket.disconnected.connect(lambda: lines.closed(socket.closeCode().value, socket.closeReason()))
            socket.errorOccurred.connect(lambda error: lines.failed(socket.errorString()))
            socket.open(QUrl(argument))
        elif command == "send":
            self.socket.sendTextMessage(argument)
        else:
            self.socket.close()


commands, driver = Commands(), Driver()
commands.came.connect(driver.handle)
lines.read(commands.came.emit)
application.exec()
