package drivers;

import org.apache.tomcat.websocket.WsWebSocketContainer;

/** org.apache.tomcat.embed:tomcat-embed-websocket. */
final class Tomcat {
    public static void main(String[] arguments) throws Exception {
        var container = new WsWebSocketContainer();
        // In characters. By default, it closes with 1009 at 8,192.
        if (!Lines.isUnadvised(arguments)) {
            container.setDefaultMaxTextMessageBufferSize(263_168);
        }
        JakartaEndpoint.drive(container);
    }
}
