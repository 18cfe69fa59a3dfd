# One image for coordinator and agent; the command says which.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked && cp target/release/bitfront /bitfront

FROM debian:bookworm-slim
# Whom to trust, for a Postgres database over TLS.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 bitfront && install -d -o bitfront /data
USER bitfront
COPY --from=build /bitfront /usr/local/bin/bitfront
VOLUME /data
ENTRYPOINT ["bitfront"]
