# Every command that CI runs, and the few that people need. `just` alone lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

[private]
default:
    @just --list

# Show what Assay does, with images of its own; Ctrl-C ends it
demo *arguments:
    cargo run --release --locked -- demo {{ arguments }}

# Unit and integration tests
test *arguments:
    cargo test --locked {{ arguments }}

# Formatting and clippy, warnings are errors
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# Every parser of bytes from outside: `just fuzz 60 bundle statement`; installs a nightly toolchain if there is none
fuzz *arguments:
    fuzz/run {{ arguments }}

# Kill the program under load again and again: `just crash 1000`
crash cycles="50":
    ASSAY_CRASH_CYCLES={{ cycles }} cargo test --locked --test it -- crash --nocapture

# Everything at once for a while: `just soak 3600`
soak seconds="60":
    ASSAY_SOAK_SECONDS={{ seconds }} cargo test --locked --test it -- soak --nocapture

# The crashes with the power of the disk cut; needs root and loop devices
powercut cycles="10":
    tests/e2e/powercut {{ cycles }}

# Real registries, cosign and Sigstore servers, docker, containerd, podman, skopeo; needs root, go, apt (see tests/e2e/run)
e2e *arguments:
    tests/e2e/run {{ arguments }}

# A certificate authority and a server certificate for development, in certs/dev/
certs *arguments:
    certs/make-dev {{ arguments }}

# Check a configuration
check-config file="proxy.toml.example":
    cargo run --release --locked -- check -c {{ quote(file) }}

# Licences, bans and sources of the dependencies (cargo install --locked cargo-deny)
deny:
    cargo deny --all-features check --hide-inclusion-graph bans licenses sources

# Known vulnerabilities; fetches the RustSec database
advisories:
    cargo deny --all-features check advisories

# All that CI does, in its order
ci:
    .ci/run
