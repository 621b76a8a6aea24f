# Assay as a container image:   docker build -t assay .
#
#   docker run -v ./proxy.toml:/etc/assay/proxy.toml:ro -v assay:/var/lib/assay -p 127.0.0.1:5050:5050 assay
#
# In a container, `listen` must be "0.0.0.0:5050" for a published port to reach it.

FROM rust:1.95.0-bookworm AS build
# The image has this toolchain; rust-toolchain.toml would make rustup fetch tools that only development needs.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
RUN cargo build --release --locked --bin assay && install -D -s target/release/assay /out/assay

FROM debian:bookworm-slim
# Without the system's certificates no https upstream can be asked, so Assay does not start.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 65532 assay \
    && useradd --system --uid 65532 --gid assay --home-dir /var/lib/assay --shell /usr/sbin/nologin assay \
    && install -d -o assay -g assay -m 0700 /var/lib/assay
COPY --from=build /out/assay /usr/local/bin/assay
USER 65532:65532
VOLUME /var/lib/assay
EXPOSE 5050 5051
# Liveness and readiness are on the admin listener (/healthz, /readyz); the image has nothing to ask them with.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/assay"]
CMD ["serve", "-c", "/etc/assay/proxy.toml"]
