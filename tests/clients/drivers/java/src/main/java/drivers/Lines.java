package drivers;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.concurrent.Semaphore;

/** The line protocol of tests/clients/driver.rs. */
final class Lines {
    /** Held while the program works on a message. */
    private static final Semaphore WORK = new Semaphore(1);

    private Lines() {}

    /** An open connection. */
    interface Socket {
        void send(String text) throws Exception;

        void close() throws Exception;
    }

    /** Opens a connection; null if the library tells failures elsewhere. */
    interface Connect {
        Socket open(String url) throws Exception;
    }

    static void opened() {
        tell("opened");
    }

    /** Tells a message, and works on it while the test wants that. */
    static void text(String text) {
        tell("text " + encode(text));
        WORK.acquireUninterruptibly();
        WORK.release();
    }

    /** An end without a code. */
    static void ended() {
        tell("closed - ");
    }

    /** Whether to do without what docs/clients.md advises for the library. */
    static boolean isUnadvised(String[] arguments) {
        return arguments.length > 0 && arguments[0].equals("unadvised");
    }

    static void closed(int code, String reason) {
        tell("closed " + code + " " + encode(reason));
    }

    /** Tells an error and its causes, which may have the status of a refused upgrade. */
    static void failed(Throwable error) {
        var message = new StringBuilder();
        for (var each = error; each != null; each = each.getCause()) {
            message.append(each).append("; ");
        }
        tell("failed " + encode(message.toString()));
    }

    /** Carries out the commands of the standard input. */
    static void drive(Connect connect) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Socket socket = null;
        for (String line; (line = input.readLine()) != null; ) {
            var words = line.split(" ");
            switch (words[0]) {
                case "open" -> {
                    try {
                        socket = connect.open(words[1]);
                    } catch (Exception error) {
                        failed(error);
                    }
                }
                case "send" -> socket.send(new String(Base64.getDecoder().decode(words[1]), StandardCharsets.UTF_8));
                case "pause" -> WORK.acquireUninterruptibly();
                case "resume" -> WORK.release();
                default -> socket.close();
            }
        }
        System.exit(0);
    }

    private static synchronized void tell(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static String encode(String text) {
        var bytes = text == null ? new byte[0] : text.getBytes(StandardCharsets.UTF_8);
        return Base64.getEncoder().encodeToString(bytes);
    }
}
