package drivers;

import java.net.URI;
import org.java_websocket.client.WebSocketClient;
import org.java_websocket.handshake.ServerHandshake;

/** org.java-websocket:Java-WebSocket. */
final class JavaWebSocket {
    public static void main(String[] arguments) throws Exception {
        Lines.drive(url -> {
            var client = new WebSocketClient(new URI(url)) {
                @Override
                public void onOpen(ServerHandshake handshake) {
                    Lines.opened();
                }

                @Override
                public void onMessage(String text) {
                    Lines.text(text);
                }

                @Override
                public void onClose(int code, String reason, boolean isRemote) {
                    Lines.closed(code, reason);
                }

                @Override
                public void onError(Exception error) {
                    Lines.failed(error);
                }
            };
            client.connect();
            return new Lines.Socket() {
                @Override
                public void send(String text) {
                    client.send(text);
                }

                @Override
                public void close() {
                    client.close();
                }
            };
        });
    }
}
