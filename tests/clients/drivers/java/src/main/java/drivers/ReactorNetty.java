package drivers;

import java.util.Optional;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.netty.http.client.HttpClient;

/** io.projectreactor.netty:reactor-netty-http. */
final class ReactorNetty {
    public static void main(String[] arguments) throws Exception {
        Lines.drive(url -> {
            var texts = Sinks.many().unicast().<String>onBackpressureBuffer();
            var session = HttpClient.create().websocket().uri(url).handle((in, out) -> {
                Lines.opened();
                // Empty without a close frame.
                in.receiveCloseStatus().map(Optional::of).defaultIfEmpty(Optional.empty()).subscribe(
                        end -> end.ifPresentOrElse(told -> Lines.closed(told.code(), told.reasonText()), Lines::ended),
                        Lines::failed);
                Mono<Void> received = in.receive().asString().doOnNext(Lines::text).then();
                return Mono.when(received, out.sendString(texts.asFlux()).then());
            });
            var running = session.subscribe(done -> {}, Lines::failed);
            return new Lines.Socket() {
                @Override
                public void send(String text) {
                    texts.tryEmitNext(text).orThrow();
                }

                @Override
                public void close() {
                    running.dispose();
                }
            };
        });
    }
}
