package drivers;

import io.netty.bootstrap.Bootstrap;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.http.HttpClientCodec;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.websocketx.CloseWebSocketFrame;
import io.netty.handler.codec.http.websocketx.TextWebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketClientProtocolConfig;
import io.netty.handler.codec.http.websocketx.WebSocketClientProtocolHandler;
import io.netty.handler.codec.http.websocketx.WebSocketClientProtocolHandler.ClientHandshakeStateEvent;
import io.netty.handler.codec.http.websocketx.WebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketFrameAggregator;
import java.net.URI;

/** io.netty:netty-codec-http. */
final class Netty {
    /** Tells what arrives on one channel. */
    private static final class Handler extends SimpleChannelInboundHandler<WebSocketFrame> {
        private boolean isClosed;

        @Override
        public void userEventTriggered(ChannelHandlerContext context, Object event) {
            if (event == ClientHandshakeStateEvent.HANDSHAKE_COMPLETE) {
                Lines.opened();
            }
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, WebSocketFrame frame) {
            if (frame instanceof TextWebSocketFrame text) {
                Lines.text(text.text());
            } else if (frame instanceof CloseWebSocketFrame close) {
                isClosed = true;
                Lines.closed(close.statusCode(), close.reasonText());
                context.writeAndFlush(close.retain()).addListener(ChannelFutureListener.CLOSE);
            }
        }

        @Override
        public void channelInactive(ChannelHandlerContext context) {
            if (!isClosed) {
                isClosed = true;
                Lines.closed(1006, "");
            }
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
            isClosed = true;
            Lines.failed(error);
            context.close();
        }
    }

    public static void main(String[] arguments) throws Exception {
        var group = new MultiThreadIoEventLoopGroup(1, NioIoHandler.newFactory());
        Lines.drive(url -> {
            var uri = URI.create(url);
            // With the default, true, the handler answers close frames and tells neither code nor reason.
            var config = WebSocketClientProtocolConfig.newBuilder()
                    .webSocketUri(uri)
                    .handleCloseFrames(Lines.isUnadvised(arguments))
                    .build();
            var bootstrap = new Bootstrap().group(group).channel(NioSocketChannel.class);
            bootstrap.handler(new ChannelInitializer<SocketChannel>() {
                @Override
                protected void initChannel(SocketChannel channel) {
                    channel.pipeline().addLast(
                            new HttpClientCodec(),
                            new HttpObjectAggregator(8192),
                            new WebSocketClientProtocolHandler(config),
                            new WebSocketFrameAggregator(1 << 20),
                            new Handler());
                }
            });
            var channel = bootstrap.connect(uri.getHost(), uri.getPort()).sync().channel();
            return new Lines.Socket() {
                @Override
                public void send(String text) {
                    channel.writeAndFlush(new TextWebSocketFrame(text));
                }

                @Override
                public void close() {
                    channel.writeAndFlush(new CloseWebSocketFrame());
                }
            };
        });
    }
}
