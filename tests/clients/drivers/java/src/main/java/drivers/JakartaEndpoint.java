package drivers;

import jakarta.websocket.ClientEndpointConfig;
import jakarta.websocket.CloseReason;
import jakarta.websocket.Endpoint;
import jakarta.websocket.EndpointConfig;
import jakarta.websocket.MessageHandler;
import jakarta.websocket.Session;
import jakarta.websocket.WebSocketContainer;
import java.net.URI;

/** What an application writes for the Jakarta WebSocket API, whoever implements it. */
final class JakartaEndpoint extends Endpoint {
    @Override
    public void onOpen(Session session, EndpointConfig config) {
        // A lambda does not tell the type of its argument.
        session.addMessageHandler(new MessageHandler.Whole<String>() {
            @Override
            public void onMessage(String text) {
                Lines.text(text);
            }
        });
        Lines.opened();
    }

    @Override
    public void onClose(Session session, CloseReason reason) {
        Lines.closed(reason.getCloseCode().getCode(), reason.getReasonPhrase());
    }

    @Override
    public void onError(Session session, Throwable error) {
        Lines.failed(error);
    }

    static void drive(WebSocketContainer container) throws Exception {
        // Tomcat takes no null.
        var config = ClientEndpointConfig.Builder.create().build();
        Lines.drive(url -> {
            var session = container.connectToServer(new JakartaEndpoint(), config, URI.create(url));
            return new Lines.Socket() {
                @Override
                public void send(String text) throws Exception {
                    session.getBasicRemote().sendText(text);
                }

                @Override
                public void close() throws Exception {
                    session.close();
                }
            };
        });
    }
}
