#!/usr/bin/env bash
# undertow-core 2.4.4.Final.
#
# If the other side ends the TCP connection without a close frame, the listener of a WebSocket client gets a close message with
# code 1001 ("going away"), as if it had been sent. RFC 6455, 7.1.5, has 1006 for this. By the code, a program can't tell the crash
# of a server from a server that leaves in good order, which many clients take for the end. Only the reason, a text of the library,
# differs.
#
# Seen: 1001 with "UT002046: Closing WebSocket, peer went away." after the end of the connection; 1001 with an empty reason after
# a close frame with 1001.
#
# Needs a JDK and Maven.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p src/main/java
cat >pom.xml <<'END'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId>
  <artifactId>program</artifactId>
  <version>0</version>
  <properties>
    <maven.compiler.source>17</maven.compiler.source>
    <maven.compiler.target>17</maven.compiler.target>
  </properties>
  <dependencies>
    <dependency>
      <groupId>io.undertow</groupId>
      <artifactId>undertow-core</artifactId>
      <version>2.4.4.Final</version>
    </dependency>
  </dependencies>
</project>
END
cat >src/main/java/Program.java <<'END'
import io.undertow.server.DefaultByteBufferPool;
import io.undertow.websockets.client.WebSocketClient;
import io.undertow.websockets.core.AbstractReceiveListener;
import io.undertow.websockets.core.CloseMessage;
import io.undertow.websockets.core.WebSocketChannel;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.xnio.OptionMap;
import org.xnio.Xnio;

public class Program {
    /** Accepts one upgrade, sends these bytes when told, and ends the connection. */
    static void serve(ServerSocket server, byte[] last, CompletableFuture<Void> opened) throws Exception {
        try (var socket = server.accept()) {
            var request = new StringBuilder();
            while (request.indexOf("\r\n\r\n") < 0) {
                request.append((char) socket.getInputStream().read());
            }
            var key = request.toString().replaceAll("(?is).*sec-websocket-key: (\\S+).*", "$1");
            var hash = MessageDigest.getInstance("SHA-1")
                    .digest((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").getBytes(StandardCharsets.US_ASCII));
            var answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Accept: " + Base64.getEncoder().encodeToString(hash) + "\r\n\r\n";
            socket.getOutputStream().write(answer.getBytes(StandardCharsets.US_ASCII));
            opened.get(20, TimeUnit.SECONDS);
            socket.getOutputStream().write(last);
        }
    }

    /** The code and the reason that a listener is told. */
    static String toldAfter(byte[] last) throws Exception {
        try (var server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            var opened = new CompletableFuture<Void>();
            CompletableFuture.runAsync(() -> {
                try {
                    serve(server, last, opened);
                } catch (Exception error) {
                    error.printStackTrace();
                }
            });
            var told = new CompletableFuture<String>();
            var worker = Xnio.getInstance().createWorker(OptionMap.EMPTY);
            var pool = new DefaultByteBufferPool(false, 16_384);
            var url = URI.create("ws://127.0.0.1:" + server.getLocalPort() + "/");
            var channel = WebSocketClient.connectionBuilder(worker, pool, url).connect().get();
            channel.getReceiveSetter().set(new AbstractReceiveListener() {
                @Override
                protected void onCloseMessage(CloseMessage message, WebSocketChannel channel) {
                    told.complete(message.getCode() + " '" + message.getReason() + "'");
                }

                @Override
                protected void onError(WebSocketChannel channel, Throwable error) {
                    told.complete(String.valueOf(error));
                }
            });
            channel.resumeReceives();
            opened.complete(null);
            return told.get(20, TimeUnit.SECONDS);
        }
    }

    public static void main(String[] arguments) throws Exception {
        var framed = toldAfter(new byte[] {(byte) 0x88, 2, 1001 >> 8, (byte) 1001});
        var lost = toldAfter(new byte[0]);
        System.out.println("after a close frame with 1001: " + framed + ", after the end of the connection: " + lost);
        System.exit(framed.equals("1001 ''") && lost.startsWith("1001 ") ? 0 : 1);
    }
}
END
mvn --batch-mode --quiet compile dependency:copy-dependencies >/dev/null
java -cp 'target/classes:target/dependency/*' Program 2>/dev/null
