package drivers;

import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.WebSocket;
import okhttp3.WebSocketListener;

/** com.squareup.okhttp3:okhttp. */
final class OkHttp {
    public static void main(String[] arguments) throws Exception {
        var client = new OkHttpClient();
        Lines.drive(url -> {
            var socket = client.newWebSocket(new Request.Builder().url(url).build(), new WebSocketListener() {
                @Override
                public void onOpen(WebSocket socket, Response response) {
                    Lines.opened();
                }

                @Override
                public void onMessage(WebSocket socket, String text) {
                    Lines.text(text);
                }

                @Override
                public void onClosing(WebSocket socket, int code, String reason) {
                    // Without this, the connection never ends, and onClosed is never called.
                    if (!Lines.isUnadvised(arguments)) {
                        socket.close(code, null);
                    }
                }

                @Override
                public void onClosed(WebSocket socket, int code, String reason) {
                    Lines.closed(code, reason);
                }

                @Override
                public void onFailure(WebSocket socket, Throwable error, Response response) {
                    Lines.failed(error);
                }
            });
            return new Lines.Socket() {
                @Override
                public void send(String text) {
                    socket.send(text);
                }

                @Override
                public void close() {
                    socket.close(1000, null);
                }
            };
        });
    }
}
