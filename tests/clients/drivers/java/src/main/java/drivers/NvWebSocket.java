package drivers;

import com.neovisionaries.ws.client.WebSocket;
import com.neovisionaries.ws.client.WebSocketAdapter;
import com.neovisionaries.ws.client.WebSocketFactory;
import com.neovisionaries.ws.client.WebSocketFrame;

/** com.neovisionaries:nv-websocket-client. */
final class NvWebSocket {
    public static void main(String[] arguments) throws Exception {
        Lines.drive(url -> {
            var socket = new WebSocketFactory().createSocket(url);
            socket.addListener(new WebSocketAdapter() {
                @Override
                public void onTextMessage(WebSocket socket, String text) {
                    Lines.text(text);
                }

                @Override
                public void onDisconnected(WebSocket socket, WebSocketFrame server, WebSocketFrame client, boolean isServer) {
                    var close = isServer ? server : client;
                    if (close == null) {
                        Lines.closed(1006, "");
                    } else {
                        Lines.closed(close.getCloseCode(), close.getCloseReason());
                    }
                }
            });
            socket.connect();
            Lines.opened();
            return new Lines.Socket() {
                @Override
                public void send(String text) {
                    socket.sendText(text);
                }

                @Override
                public void close() {
                    socket.disconnect();
                }
            };
        });
    }
}
