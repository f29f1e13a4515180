package drivers;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.net.http.WebSocketHandshakeException;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;

/** java.net.http of the JDK. */
final class JdkHttpClient {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        var isUnadvised = Lines.isUnadvised(arguments);
        Lines.drive(url -> {
            var listener = new WebSocket.Listener() {
                // Messages come in parts of up to 16 KiB, which may end anywhere.
                private final StringBuilder parts = new StringBuilder();

                @Override
                public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean isLast) {
                    parts.append(part);
                    if (isUnadvised && !isLast) {
                        Lines.failed(new IllegalStateException("a part of " + part.length() + " characters"));
                    } else if (isLast) {
                        Lines.text(parts.toString());
                        parts.setLength(0);
                    }
                    socket.request(1);
                    return null;
                }

                @Override
                public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
                    Lines.closed(code, reason);
                    return null;
                }

                @Override
                public void onError(WebSocket socket, Throwable error) {
                    Lines.failed(error);
                }
            };
            WebSocket socket;
            try {
                socket = client.newWebSocketBuilder().buildAsync(URI.create(url), listener).join();
            } catch (CompletionException error) {
                if (error.getCause() instanceof WebSocketHandshakeException refused) {
                    Lines.failed(new Exception("status " + refused.getResponse().statusCode(), refused));
                } else {
                    Lines.failed(error.getCause());
                }
                return null;
            }
            Lines.opened();
            return new Lines.Socket() {
                @Override
                public void send(String text) {
                    socket.sendText(text, true).join();
                }

                @Override
                public void close() {
                    socket.sendClose(1000, "");
                }
            };
        });
    }
}
