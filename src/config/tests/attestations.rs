//! `[[policy.attestation]]`: what it becomes, and mistakes in it.

use insta::assert_snapshot;

use super::Lab;
use super::policies::{UPSTREAMS, problems};
use crate::trust::{About, Require};

const POLICY: &str = r#"[[policy]]
name = "a"
images = ["ghcr.io/**", "docker.io/**"]
"#;
const SIGNER: &str = r#"[[policy.signer]]
issuer = "https://accounts.google.com"
identity = "ada@acme.example"
"#;

#[test]
fn an_attestation_means_what_it_says() {
    let text = format!(
        r#"{UPSTREAMS}{POLICY}{SIGNER}
[[policy.attestation]]
type = "slsaprovenance1"
builder_id = "https://github.com/actions/runner/github-hosted"
source_repository_regexp = 'https://github\.com/acme/[^/]+'
where = {{ "/buildDefinition/buildType" = "https://actions.github.io/buildtypes/workflow/v1", "/a~1b/*/c" = "" }}
[[policy.attestation]]
type = "https://acme.example/scan/v1"
about = "platform"
require = "all"
[[policy.attestation.signer]]
key = "acme.pub"
[[policy.attestation.signer]]
key = "other.pub"
"#
    );
    let lab = Lab::new();
    assert_eq!(lab.warnings(&text), "");
    let (settings, _) = lab.load(&text);
    let demand = settings.policy.rules()[0].demand().unwrap();
    let [provenance, scan] = demand.attestations.as_slice() else { panic!("two") };
    assert_eq!(provenance.predicate_type, "https://slsa.dev/provenance/v1");
    assert_eq!((provenance.about, provenance.require), (About::Index, Require::Any));
    assert_eq!(provenance.signers[0].id(), demand.signers[0].id(), "the policy's signers are the default");
    let conditions: Vec<_> =
        provenance.conditions.iter().map(|one| (one.name.as_str(), one.wanted.is_expression())).collect();
    assert_eq!(
        conditions,
        [
            ("builder_id", false),
            ("source_repository", true),
            ("/a~1b/*/c", false),
            ("/buildDefinition/buildType", false)
        ]
    );
    assert_eq!((scan.about, scan.require, scan.signers.len()), (About::Platform, Require::All, 2));
    assert!(demand.asks_of_platforms());
}

#[test]
fn attestations_that_nothing_could_satisfy() {
    let text = format!(
        r#"{POLICY}{SIGNER}
[[policy.attestation]]
[[policy.attestation]]
type = "slsaprovenence"
about = "image"
[[policy.attestation]]
type = "sbom"
[[policy.attestation]]
type = "https://sigstore.dev/cosign/sign/v1"
[[policy.attestation]]
type = "spdxjson"
builder_id = "https://builder.example"
source_repository = "a"
source_repository_regexp = "a"
where = {{ "name" = "x", "/a~2" = "x", "" = "x" }}
[[policy.attestation]]
type = "vuln"
require = "all"
[[policy.attestation.signer]]
key = "acme.pub"
[[policy.attestation.signer]]
key = "acme.pub"
[[policy.attestation.signer]]
"#
    );
    assert_snapshot!(problems(&text), @r#"
    error: policy[0].attestation[0].type: missing
      --> proxy.toml:13:1
       |
    13 | [[policy.attestation]]
       | ^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write a predicate type: type = "https://slsa.dev/provenance/v1"

    error: policy[0].attestation[1].type: not a predicate type
      --> proxy.toml:15:8
       |
    15 | type = "slsaprovenence"
       |        ^^^^^^^^^^^^^^^^
       |
       = help: did you mean `slsaprovenance`?

    error: policy[0].attestation[1].about: unknown value `image`
      --> proxy.toml:16:9
       |
    16 | about = "image"
       |         ^^^^^^^
       |
       = help: expected "index" or "platform"

    error: policy[0].attestation[2].type: not a predicate type
      --> proxy.toml:18:8
       |
    18 | type = "sbom"
       |        ^^^^^^
       |
       = help: write the predicate type's URI, or one of cosign's words: custom, slsaprovenance, slsaprovenance02, slsaprovenance1, spdx, spdxjson, cyclonedx, link, vuln, openvex

    error: policy[0].attestation[3].type: that is the type of signatures, not of attestations
      --> proxy.toml:20:8
       |
    20 | type = "https://sigstore.dev/cosign/sign/v1"
       |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: [[policy.signer]] asks for signatures; take this table out

    error: policy[0].attestation[4].builder_id: only SLSA provenance has this field, and `type` is another one
      --> proxy.toml:23:14
       |
    23 | builder_id = "https://builder.example"
       |              ^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: use `where` with a JSON pointer, or type = "https://slsa.dev/provenance/v1"

    error: policy[0].attestation[4].source_repository: only SLSA provenance has this field, and `type` is another one
      --> proxy.toml:24:21
       |
    24 | source_repository = "a"
       |                     ^^^
       |
       = help: use `where` with a JSON pointer, or type = "https://slsa.dev/provenance/v1"

    error: policy[0].attestation[4].source_repository_regexp: `source_repository` is there too
      --> proxy.toml:25:28
       |
    25 | source_repository_regexp = "a"
       |                            ^^^
       |
       = help: keep one of `source_repository` (this very text) and `source_repository_regexp` (whatever fits it)

    error: policy[0].attestation[4].where.name: not a JSON pointer
      --> proxy.toml:26:11
       |
    26 | where = { "name" = "x", "/a~2" = "x", "" = "x" }
       |           ^^^^^^
       |
       = help: write the path into the predicate with slashes: "/buildDefinition/buildType"; `*` is every member of a list

    error: policy[0].attestation[4].where."/a~2": not a JSON pointer
      --> proxy.toml:26:25
       |
    26 | where = { "name" = "x", "/a~2" = "x", "" = "x" }
       |                         ^^^^^^
       |
       = help: write the path into the predicate with slashes: "/buildDefinition/buildType"; `*` is every member of a list

    error: policy[0].attestation[4].where."": not a JSON pointer
      --> proxy.toml:26:39
       |
    26 | where = { "name" = "x", "/a~2" = "x", "" = "x" }
       |                                       ^^
       |
       = help: write the path into the predicate with slashes: "/buildDefinition/buildType"; `*` is every member of a list

    error: policy[0].attestation[5].signer[1].key: the same key as `acme.pub`
      --> proxy.toml:33:7
       |
    33 | key = "acme.pub"
       |       ^^^^^^^^^^
       |
       = help: one signature satisfies both, and require = "all" asks for different people; take one out

    error: policy[0].attestation[5].signer[2].key: missing
      --> proxy.toml:34:1
       |
    34 | [[policy.attestation.signer]]
       | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: name a PEM public key: key = "FILE"; or an identity: issuer = "https://…" and identity = "…"
    "#);
}

#[test]
fn nobody_may_attest() {
    let attestation = "[[policy.attestation]]\ntype = \"spdx\"\n";
    let audit = POLICY.replace("name =", "mode = \"audit\"\nname =");
    assert_snapshot!(problems(&format!("{audit}{attestation}")), @r#"
    error: policy[0].attestation[0]: nobody may attest it: neither this table nor the policy has signers
      --> proxy.toml:10:1
       |
    10 | [[policy.attestation]]
       | ^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: add [[policy.attestation.signer]], or [[policy.signer]] for both
    "#);
    let misspelt = format!("{POLICY}{SIGNER}{attestation}").replace("issuer", "isuer");
    assert_snapshot!(problems(&misspelt), @r#"
    error: policy[0].signer[0].isuer: unknown key
      --> proxy.toml:10:1
       |
    10 | isuer = "https://accounts.google.com"
       | ^^^^^
       |
       = help: did you mean `issuer`?
    "#);
}

#[test]
fn the_same_attestation_twice() {
    let attestation = "[[policy.attestation]]\ntype = \"spdx\"\n";
    let twice = format!("{attestation}{}", attestation.replace("spdx", "https://spdx.dev/Document"));
    assert_snapshot!(Lab::new().warnings(&format!("{UPSTREAMS}{POLICY}{SIGNER}{twice}")), @r#"
    warning: policy[0].attestation[1]: asks for the same as attestation[0]
      --> proxy.toml:14:1
       |
    14 | [[policy.attestation]]
       | ^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: take one of them out
    "#);
    let other = attestation.replace("spdx", "cyclonedx");
    assert_eq!(Lab::new().warnings(&format!("{UPSTREAMS}{POLICY}{SIGNER}{attestation}{other}")), "");
}

#[test]
fn attesters_need_a_trusted_root_too() {
    let key = "tlog = \"off\"\n[[policy.signer]]\nkey = \"acme.pub\"\n";
    let attestation =
        format!("[[policy.attestation]]\ntype = \"spdx\"\n{}", SIGNER.replace("policy.", "policy.attestation."));
    assert_snapshot!(problems(&format!("{POLICY}{key}{attestation}")), @r#"
    error: policy[0].tlog: identities sign here, and `public-good` names a transparency log
     --> proxy.toml:9:8
      |
    9 | tlog = "off"
      |        ^^^^^
      |
      = help: a certificate lives for minutes: only the log proves when it was used; take the line out
    "#);
    let (settings, _) = Lab::new().load(&format!("{UPSTREAMS}{POLICY}{}{attestation}", key.replace("off", "required")));
    assert_eq!(settings.policy.rules()[0].demand().unwrap().roots.len(), 1);
}
