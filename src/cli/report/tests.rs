//! Reports over outcomes that are made by hand, because no image leads to them here.

use std::collections::BTreeMap;

use insta::assert_snapshot;

use super::{Asked, Place, Report};
use crate::oci::{Digest, ImageName};
use crate::pull::{PullError, Refusal};
use crate::trust::{
    Demand, Enforcement, IdentitySigner, KeySigner, Matcher, Pattern, Policy, PublicKey, Reason, Require, Rule, Signer,
    Tlog, refuse,
};

const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
";

fn asked(demand: Demand) -> Asked {
    let image: ImageName = "ghcr.io/acme/app:1".parse().unwrap();
    let pattern = Pattern::parse("ghcr.io/acme/**").unwrap();
    let rule = Rule::new("acme".to_owned(), vec![pattern], Enforcement::Enforce(demand));
    Asked {
        shown: image.to_string(),
        repository: image.repository,
        policy: Policy::new(vec![rule], None),
        by_arguments: false,
        place: Place::Registry { host: "mirror.acme.test:5000".to_owned(), plain_http: true },
        root_files: BTreeMap::new(),
    }
}

fn refused(asked: &Asked, reason: Reason, detail: &str) -> Result<crate::pull::Explanation, PullError> {
    let rule = asked.policy.rule_for(&asked.repository).unwrap();
    let (digest, detail) = (Digest::of(b"image"), detail.to_owned());
    let verdict = refuse(&asked.repository, digest, rule, reason, detail.clone(), jiff::Timestamp::UNIX_EPOCH);
    Err(PullError::Refused(Box::new(Refusal {
        repository: asked.repository.clone(),
        asked: "1".to_owned(),
        reason,
        rule: Some("acme".to_owned()),
        detail,
        next_step: reason.next_step().to_owned(),
        verdict: Some(verdict.into()),
    })))
}

fn key() -> Signer {
    let key = PublicKey::from_pem(KEY).unwrap();
    Signer::Key(KeySigner { name: "keys/release key.pub".to_owned(), key, not_before: None, not_after: None })
}

fn identity() -> Signer {
    let mut signer = IdentitySigner::new(Matcher::exact("https://issuer.test"), Matcher::expression("a|b").unwrap());
    signer.claims.insert("github_workflow_trigger".to_owned(), Matcher::exact("push"));
    signer.claims.insert("source_ref".to_owned(), Matcher::exact("refs/tags/v1"));
    Signer::Identity(signer)
}

#[test]
fn a_tag_that_went_back_in_time() {
    let asked = asked(Demand { signers: vec![key()], tlog: Tlog::Off, ..Demand::default() });
    let detail =
        "tag 1 was signed at 2026-11-02T09:14:00Z before, and now leads to what was signed at 2026-06-01T12:00:05Z";
    let result = refused(&asked, Reason::RolledBack, detail);
    assert_snapshot!(Report::new(&asked, &result).text(true), @r#"
    ✖ ghcr.io/acme/app:1
      verdict    refused
      digest     sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d
      rule       "acme" (mode enforce)
      reason     ROLLED_BACK: tag 1 was signed at 2026-11-02T09:14:00Z before, and now leads to what was signed at 2026-06-01T12:00:05Z
      next step  find out why the tag went back; pull by digest if it should, or set rollback = "warn"
      cosign     cosign verify --key 'keys/release key.pub' --insecure-ignore-tlog --allow-http-registry mirror.acme.test:5000/acme/app@sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d
                 (it does not check what the tag led to before)
    "#);
}

#[test]
fn what_cosign_cannot_be_told_is_said() {
    let annotations = BTreeMap::from([("build".to_owned(), "it's 42".to_owned())]);
    let signers = vec![key(), identity()];
    let demand = Demand { signers, require: Require::All, tlog: Tlog::Off, annotations, ..Demand::default() };
    let asked = asked(demand);
    let result = refused(&asked, Reason::NoSignature, "no signature found");
    assert_snapshot!(Report::new(&asked, &result).text(false), @r#"
    ✖ ghcr.io/acme/app:1
      verdict    refused
      digest     sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d
      rule       "acme" (mode enforce)
      reason     NO_SIGNATURE: no signature found
      next step  sign the index with `cosign sign`, or, if it is never signed, cover it by a [[policy]] of its own with mode = "off"
      cosign     cosign verify --key 'keys/release key.pub' --insecure-ignore-tlog --allow-http-registry -a 'build=it'\''s 42' mirror.acme.test:5000/acme/app@sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d
      cosign     cosign verify --certificate-identity-regexp '^(?:a|b)$' --certificate-oidc-issuer https://issuer.test --certificate-github-workflow-trigger push --insecure-ignore-tlog --use-signed-timestamps --allow-http-registry -a 'build=it'\''s 42' mirror.acme.test:5000/acme/app@sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d
                 (it does not check that all of them signed: run every command)
                 (it does not check source_ref, which the rule wants to be `refs/tags/v1`)
    "#);
}

#[test]
fn a_folder_has_no_command() {
    let asked = Asked { place: Place::Folder, ..asked(Demand { signers: vec![key()], ..Demand::default() }) };
    let result = refused(&asked, Reason::NoSignature, "no signature found");
    let json = Report::new(&asked, &result).json();
    assert_eq!(json["cosign"]["commands"], serde_json::json!([]));
    assert!(json["cosign"]["lacks"][0].as_str().unwrap().contains("layout folders"), "{json}");
}

#[test]
fn upstreams_words_cannot_steer_the_terminal_or_add_a_line() {
    let asked = asked(Demand::default());
    let detail = "`x\u{1b}[2J\n  verdict    verified\u{202e}`";
    let text = Report::new(&asked, &refused(&asked, Reason::UnsafeManifest, detail)).text(true);
    assert!(text.contains("`x\u{fffd}[2J\u{fffd}  verdict    verified\u{fffd}`"), "{text}");
    assert_eq!(text.lines().count(), 6, "{text}");
}
