//! Mistakes in signers and in what their signatures must name.

use insta::assert_snapshot;

use super::policies::problems;

#[test]
fn signers() {
    let text = r#"
[[policy]]
name = "a"
images = ["ghcr.io/a/**"]
tlog = "off"
[[policy.signer]]
[[policy.signer]]
key = "absent.pub"
[[policy.signer]]
key = "acme.key"
[[policy.signer]]
key = "rubbish"
[[policy.signer]]
key = "tls.crt"
[[policy.signer]]
key = "."
[[policy.signer]]
key = "acme.pub"
not_before = 2026-02-01
not_after = "2026-01-31"
[[policy.signer]]
key = "other.pub"
not_before = "soon"
not_after = 2026-01-31T12:00:00
"#;
    assert_snapshot!(problems(text), @r#"
    error: policy[0].signer[0].key: missing
      --> proxy.toml:11:1
       |
    11 | [[policy.signer]]
       | ^^^^^^^^^^^^^^^^^
       |
       = help: name a PEM public key: key = "FILE"; or an identity: issuer = "https://…" and identity = "…"

    error: policy[0].signer[1].key: cannot read the file: No such file or directory (os error 2)
      --> proxy.toml:13:7
       |
    13 | key = "absent.pub"
       |       ^^^^^^^^^^^^ looked for absent.pub
       |
       = help: relative paths start at the folder of the configuration file

    error: policy[0].signer[2].key: this is a private key: name the public key file, and keep this one away from the proxy
      --> proxy.toml:15:7
       |
    15 | key = "acme.key"
       |       ^^^^^^^^^^
       |
       = help: `cosign public-key --key FILE` prints the public half

    error: policy[0].signer[3].key: not a PEM public key (expected `-----BEGIN PUBLIC KEY-----`): Invalid encoding: failed to parse PEM: malformedframing
      --> proxy.toml:17:7
       |
    17 | key = "rubbish"
       |       ^^^^^^^^^
       |
       = help: `cosign public-key` and `openssl pkey -pubout` print keys in this form

    error: policy[0].signer[4].key: not a PEM public key (expected `-----BEGIN PUBLIC KEY-----`): Invalid encoding: expected PUBLIC KEY PEM block, got CERTIFICATE
      --> proxy.toml:19:7
       |
    19 | key = "tls.crt"
       |       ^^^^^^^^^
       |
       = help: `cosign public-key` and `openssl pkey -pubout` print keys in this form

    error: policy[0].signer[5].key: not a file
      --> proxy.toml:21:7
       |
    21 | key = "."
       |       ^^^ looked for .
       |
       = help: relative paths start at the folder of the configuration file

    error: policy[0].signer[6].not_after: not later than not_before
      --> proxy.toml:25:13
       |
    25 | not_after = "2026-01-31"
       |             ^^^^^^^^^^^^
       |
       = help: the key would never be trusted

    error: policy[0].signer[7].not_before: not a date or a time
      --> proxy.toml:28:14
       |
    28 | not_before = "soon"
       |              ^^^^^^
       |
       = help: write 2026-01-31, or a time with its offset: 2026-01-31T12:00:00Z

    error: policy[0].signer[7].not_after: not a date or a time
      --> proxy.toml:29:13
       |
    29 | not_after = 2026-01-31T12:00:00
       |             ^^^^^^^^^^^^^^^^^^^
       |
       = help: write 2026-01-31, or a time with its offset: 2026-01-31T12:00:00Z
    "#);
}

#[test]
fn docker_references() {
    let text = r#"
[[policy]]
name = "a"
mode = "audit"
images = ["ghcr.io/a/**"]
docker_reference = { ours = "ghcr.io/a/" }
[[policy]]
name = "b"
mode = "audit"
images = ["ghcr.io/b/**"]
docker_reference = { ours = "index.docker.io/b", signed = "" }
"#;
    assert_snapshot!(problems(text), @r#"
    error: policy[0].docker_reference.signed: missing
      --> proxy.toml:11:20
       |
    11 | docker_reference = { ours = "ghcr.io/a/" }
       |                    ^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write { ours = "HOST/PATH", signed = "HOST/PATH" }

    error: policy[0].docker_reference.ours: not the start of a repository name
      --> proxy.toml:11:29
       |
    11 | docker_reference = { ours = "ghcr.io/a/" }
       |                             ^^^^^^^^^^^^
       |
       = help: write a registry, or a registry and a path, without a slash at the end: "ghcr.io/acme"

    error: policy[1].docker_reference.ours: not the start of a repository name
      --> proxy.toml:16:29
       |
    16 | docker_reference = { ours = "index.docker.io/b", signed = "" }
       |                             ^^^^^^^^^^^^^^^^^^^
       |
       = help: write a registry, or a registry and a path, without a slash at the end: "ghcr.io/acme"

    error: policy[1].docker_reference.signed: not the start of a repository name
      --> proxy.toml:16:59
       |
    16 | docker_reference = { ours = "index.docker.io/b", signed = "" }
       |                                                           ^^
       |
       = help: write a registry, or a registry and a path, without a slash at the end: "ghcr.io/acme"
    "#);
}
