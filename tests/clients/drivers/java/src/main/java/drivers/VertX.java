package drivers;

import io.vertx.core.Vertx;
import java.net.URI;

/** io.vertx:vertx-core. */
final class VertX {
    public static void main(String[] arguments) throws Exception {
        var client = Vertx.vertx().createWebSocketClient();
        Lines.drive(url -> {
            var uri = URI.create(url);
            var socket = client.webSocket();
            socket.textMessageHandler(Lines::text);
            socket.closeHandler(end -> {
                if (socket.closeStatusCode() == null) {
                    Lines.ended();
                } else {
                    Lines.closed(socket.closeStatusCode(), socket.closeReason());
                }
            });
            socket.connect(uri.getPort(), uri.getHost(), uri.getPath())
                    .onSuccess(opened -> Lines.opened())
                    .onFailure(Lines::failed);
            return new Lines.Socket() {
                @Override
                public void send(String text) {
                    socket.writeTextMessage(text);
                }

                @Override
                public void close() {
                    socket.close();
                }
            };
        });
    }
}
