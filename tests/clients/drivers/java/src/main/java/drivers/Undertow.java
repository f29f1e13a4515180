package drivers;

import io.undertow.server.DefaultByteBufferPool;
import io.undertow.websockets.client.WebSocketClient;
import io.undertow.websockets.core.AbstractReceiveListener;
import io.undertow.websockets.core.BufferedTextMessage;
import io.undertow.websockets.core.CloseMessage;
import io.undertow.websockets.core.WebSocketChannel;
import io.undertow.websockets.core.WebSockets;
import java.net.URI;
import java.util.concurrent.atomic.AtomicBoolean;
import org.xnio.OptionMap;
import org.xnio.Xnio;

/** io.undertow:undertow-core. */
final class Undertow {
    /** Tells what arrives on one channel. */
    private static final class Listener extends AbstractReceiveListener {
        private final AtomicBoolean isEnded = new AtomicBoolean();

        @Override
        protected void onFullTextMessage(WebSocketChannel channel, BufferedTextMessage message) {
            Lines.text(message.getData());
        }

        @Override
        protected void onCloseMessage(CloseMessage message, WebSocketChannel channel) {
            isEnded.set(true);
            Lines.closed(message.getCode(), message.getReason());
        }

        @Override
        protected void onError(WebSocketChannel channel, Throwable error) {
            super.onError(channel, error);
            if (!isEnded.getAndSet(true)) {
                Lines.failed(error);
            }
        }

        /** The channel has ended. */
        void ends() {
            if (!isEnded.getAndSet(true)) {
                Lines.ended();
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        var worker = Xnio.getInstance().createWorker(OptionMap.EMPTY);
        var pool = new DefaultByteBufferPool(false, 16_384);
        Lines.drive(url -> {
            var channel = WebSocketClient.connectionBuilder(worker, pool, URI.create(url)).connect().get();
            var listener = new Listener();
            channel.getReceiveSetter().set(listener);
            channel.addCloseTask(closed -> listener.ends());
            channel.resumeReceives();
            Lines.opened();
            return new Lines.Socket() {
                @Override
                public void send(String text) {
                    WebSockets.sendText(text, channel, null);
                }

                @Override
                public void close() {
                    WebSockets.sendClose(1000, "", channel, null);
                }
            };
        });
    }
}
