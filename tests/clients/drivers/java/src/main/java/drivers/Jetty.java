package drivers;

import java.net.URI;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;
import org.eclipse.jetty.websocket.api.Callback;
import org.eclipse.jetty.websocket.api.Session;
import org.eclipse.jetty.websocket.client.WebSocketClient;

/** org.eclipse.jetty.websocket:jetty-websocket-jetty-client. */
final class Jetty {
    /** The library reads the methods of a listener, so it must be public. */
    public static final class Listener extends Session.Listener.AbstractAutoDemanding {
        // It may tell an error and a close for one end, and not always both.
        private final AtomicBoolean isEnded = new AtomicBoolean();

        @Override
        public void onWebSocketOpen(Session session) {
            super.onWebSocketOpen(session);
            Lines.opened();
        }

        @Override
        public void onWebSocketText(String text) {
            Lines.text(text);
        }

        @Override
        public void onWebSocketClose(int code, String reason, Callback callback) {
            if (!isEnded.getAndSet(true)) {
                Lines.closed(code, reason);
            }
            callback.succeed();
        }

        @Override
        public void onWebSocketError(Throwable error) {
            if (!isEnded.getAndSet(true)) {
                Lines.failed(error);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        var client = new WebSocketClient();
        // By default, it ends a connection that is quiet for 30 s.
        if (!Lines.isUnadvised(arguments)) {
            client.setIdleTimeout(Duration.ofMinutes(2));
        }
        client.start();
        Lines.drive(url -> {
            var session = client.connect(new Listener(), URI.create(url)).get();
            return new Lines.Socket() {
                @Override
                public void send(String text) {
                    session.sendText(text, Callback.NOOP);
                }

                @Override
                public void close() {
                    session.close();
                }
            };
        });
    }
}
