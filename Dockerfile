# A chat node in about 30 MB without a shell. `docker build .` is all it takes.

# --- build: the same Debian as the image below, so that both have the same glibc --------------------------------------
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
# In addition to the default features. deploy/release/build has the same line.
ARG FEATURES="otel"

# The dependencies first, under a program that does nothing: this layer is built again only when Cargo.toml or
# Cargo.lock change, and takes nearly all of the time.
COPY Cargo.toml Cargo.lock ./
COPY crates/bench/Cargo.toml crates/bench/
COPY crates/client/Cargo.toml crates/client/
COPY crates/protocol/Cargo.toml crates/protocol/
RUN mkdir -p src/bin \
    && echo '//! Nothing yet.' > src/lib.rs \
    && for crate in crates/*; do mkdir -p "$crate/src" && cp src/lib.rs "$crate/src"; done \
    && cp src/lib.rs src/main.rs \
    && echo 'fn main() {}' >> src/main.rs \
    && cp src/main.rs src/bin/testserver.rs \
    && sed -i '/^\[\[bench\]\]/,/^$/d; /^\[\[test\]\]/,/^$/d; /^\[\[example\]\]/,/^$/d' Cargo.toml crates/*/Cargo.toml \
    && cargo build --profile dist --locked --bin chatnode --features "$FEATURES"

COPY crates crates
COPY src src
COPY web web
# COPY keeps the files' times, and Cargo would take what is older than the build above for built already.
RUN find crates src web -type f -exec touch {} + && cargo build --profile dist --locked --bin chatnode --features "$FEATURES"

# --- the image: glibc, libgcc and certificates; no shell, no package manager; user 65532 ------------------------------
FROM gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f
COPY --from=build /build/target/dist/chatnode /usr/local/bin/chatnode

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="chatnode" \
      org.opencontainers.image.description="A horizontally scalable chat server: stateless WebSocket nodes, one log per room in Redis, nothing lost in silence." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Within a container loopback is of no use to anybody else. Operators' doors get a port of their own, which is not
# published together with the clients'.
ENV CHAT_HOST=0.0.0.0 \
    CHAT_PORT=8080 \
    CHAT_INTERNAL__HOST=0.0.0.0 \
    CHAT_INTERNAL__PORT=8081 \
    CHAT_LOG__FORMAT=json

USER 65532:65532
WORKDIR /
EXPOSE 8080 8081
# The node drains on SIGTERM: give it longer than `drain.timeout` (30 s) to do so, `docker stop -t 45`.
STOPSIGNAL SIGTERM
# The process lives. Whether it is ready depends on Redis, and what kills the unhealthy should not ask that.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/local/bin/chatnode", "health", "--live"]
ENTRYPOINT ["/usr/local/bin/chatnode"]
