//! Our forms beside those that the real servers and cosign wrote: the same members with the same types. Read from
//! `../shared/fixtures` where that is there; not part of this project.

use std::collections::BTreeSet;

use assay::demo::Statement;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fixtures::{folder, json};
use crate::sigstore_selftest::verify::{REFERENCE, provenance, release, subject};
use crate::support::sigstore::{KeyKind, SIGNED_AT, SIGSTORE, Signatory, Signed};

/// All members, by their path, with the type of what they hold. Documents inside texts are opened.
fn shape(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    describe("", value, &mut found);
    found
}

fn describe(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| describe(&format!("{path}/{name}"), value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| describe(&format!("{path}/*"), value, found)),
        Value::String(text) => match opened(text) {
            Some(inner) => describe(path, &inner, found),
            None => drop(found.insert(format!("{path}: text"))),
        },
        Value::Number(_) => drop(found.insert(format!("{path}: number"))),
        Value::Bool(_) => drop(found.insert(format!("{path}: bool"))),
        Value::Null => drop(found.insert(format!("{path}: null"))),
    }
}

/// JSON, or base64 of JSON.
fn opened(text: &str) -> Option<Value> {
    let bytes = STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec());
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

fn classic(signed: &Signed) -> Value {
    let stored = signed.stored();
    json!({
        "mediaType": stored.media_type,
        "annotations": stored.annotations,
        "payload": STANDARD.encode(&stored.bytes),
    })
}

fn bundle(signed: &Signed) -> Value {
    serde_json::from_slice(&signed.stored().bytes).unwrap()
}

#[test]
fn they_are_like_those_of_the_real_servers() {
    let Some(top) = folder("real-servers", 30) else { return };
    let release = release();
    let managed = Signatory::with_key(KeyKind::P256);
    let unlogged = Signed::statement(&managed, &Statement::signature(subject()));
    // What an attestation says differs; how it is wrapped does not.
    let statement = Statement { statement_type: "https://in-toto.io/Statement/v0.1".to_owned(), ..provenance() };
    let first = Signed::statement(&release, &Statement::signature(subject()))
        .logged_by(&SIGSTORE.rekor_v1.emptied(), SIGNED_AT)
        .timestamped_by(&SIGSTORE.timestamps, SIGNED_AT);
    let mut wrong = Vec::new();
    for (theirs, ours) in [
        ("v1-bundle/bundles/0.json", bundle(&SIGSTORE.sign_bundle(&release, subject()))),
        ("v1-tsa-bundle/bundles/0.json", bundle(&first)),
        ("v1-key/bundles/0.json", bundle(&SIGSTORE.sign_bundle(&managed, subject()))),
        ("v2-email/bundles/0.json", bundle(&SIGSTORE.sign_bundle_v2(&release, subject()))),
        ("v2-key/bundles/0.json", bundle(&SIGSTORE.sign_bundle_v2(&managed, subject()))),
        ("key-nolog/bundles/0.json", bundle(&unlogged)),
        ("v1-classic/classic/0.json", classic(&SIGSTORE.sign_classic(&release, REFERENCE, subject()))),
        ("v1-key-classic/classic/0.json", classic(&SIGSTORE.sign_classic(&managed, REFERENCE, subject()))),
        ("v1-attest-classic/classic/0.json", classic(&SIGSTORE.attest_classic(&release, &statement))),
    ] {
        let said_by_statement =
            |path: &String| !path.contains("payload/predicate") && !path.contains("payload/subject");
        let [mut ours, mut real] = [shape(&ours), shape(&json(&top.join(theirs)))];
        ours.retain(said_by_statement);
        real.retain(said_by_statement);
        assert!(real.len() > 3, "{theirs}: {real:?}");
        if ours != real {
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
            wrong.push(format!("{theirs}: only ours {:?}, only theirs {:?}", only(&ours, &real), only(&real, &ours)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
