package drivers;

import org.glassfish.tyrus.client.ClientManager;

/** org.glassfish.tyrus.bundles:tyrus-standalone-client. */
final class Tyrus {
    public static void main(String[] arguments) throws Exception {
        JakartaEndpoint.drive(ClientManager.createClient());
    }
}
