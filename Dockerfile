# One image for coordinator and agent; the command says which.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
# Names of functions stay for backtraces; lines would be four fifths of the image.
RUN CARGO_PROFILE_RELEASE_STRIP=debuginfo cargo build --release --locked --features otel \
    && cp target/release/bitfront /bitfront

FROM debian:bookworm-slim
# Whom to trust, for Postgres, files by URL and the Hub over TLS. Of these there is no old version to
# be had once a new one is out, so none is named.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 bitfront && install -d -o bitfront /data
# By number, so that Kubernetes can tell that it is not root.
USER 1000:1000
COPY --from=build /bitfront /usr/local/bin/bitfront
ENV BITFRONT_DATA_DIR=/data
VOLUME /data
ENTRYPOINT ["bitfront"]
