//! Sigstore bundles, read so that no other reader can read them differently.

use serde_json::Value;
use sigstore_types::Bundle;

use crate::oci::strict_json;

/// Longest quotation of what is wrong, in characters.
const WHY_MAX: usize = 200;

/// Members of each object in a bundle, by the name under which the object stands; `""` is the whole. As in
/// `sigstore_bundle.proto` and what it imports.
const MEMBERS: [(&str, &[&str]); 18] = [
    ("", &["mediaType", "verificationMaterial", "messageSignature", "dsseEnvelope"]),
    (
        "verificationMaterial",
        &["publicKey", "x509CertificateChain", "certificate", "tlogEntries", "timestampVerificationData"],
    ),
    ("publicKey", &["hint"]),
    ("x509CertificateChain", &["certificates"]),
    ("certificates", &["rawBytes"]),
    ("certificate", &["rawBytes"]),
    (
        "tlogEntries",
        &[
            "logIndex",
            "logId",
            "kindVersion",
            "integratedTime",
            "inclusionPromise",
            "inclusionProof",
            "canonicalizedBody",
        ],
    ),
    ("logId", &["keyId"]),
    ("kindVersion", &["kind", "version"]),
    ("inclusionPromise", &["signedEntryTimestamp"]),
    ("inclusionProof", &["logIndex", "rootHash", "treeSize", "hashes", "checkpoint"]),
    ("checkpoint", &["envelope"]),
    ("timestampVerificationData", &["rfc3161Timestamps"]),
    ("rfc3161Timestamps", &["signedTimestamp"]),
    ("messageSignature", &["messageDigest", "signature"]),
    ("messageDigest", &["algorithm", "digest"]),
    ("dsseEnvelope", &["payload", "payloadType", "signatures"]),
    ("signatures", &["sig", "keyid"]),
];

/// Members whose objects stand in lists.
const LISTS: [&str; 4] = ["certificates", "tlogEntries", "rfc3161Timestamps", "signatures"];

/// Reads a bundle that all parsers read alike. The crate's own reader takes the first of two equal
/// keys, the first of two fields that exclude each other, and passes over what it does not know; Go takes the last,
/// or neither, and refuses.
pub(super) fn read_bundle(bytes: &[u8]) -> Result<Bundle, String> {
    strict_json::check(bytes).map_err(said)?;
    let found: Value = serde_json::from_slice(bytes).map_err(said)?;
    known(&found, "")?;
    // The crate's reader takes a bundle that does not say for the first version.
    if !found.get("mediaType").is_some_and(Value::is_string) {
        return Err("missing field `mediaType`".to_owned());
    }
    let one_of = |object: Option<&Value>, names: &[&str]| {
        let there = |name: &&&str| object.and_then(|object| object.get(**name)).is_some_and(|value| !value.is_null());
        match names.iter().filter(there).count() {
            1 => Ok(()),
            _ => Err(format!("it has to have one of `{}`", names.join("`, `"))),
        }
    };
    hashes(&found)?;
    numbers(&found)?;
    one_of(Some(&found), &["dsseEnvelope", "messageSignature"])?;
    one_of(found.get("verificationMaterial"), &["publicKey", "certificate", "x509CertificateChain"])?;
    let text = std::str::from_utf8(bytes).map_err(said)?;
    Bundle::from_json(text).map_err(said)
}

/// Checks that a DSSE envelope has the members that those in bundles have, and no others.
pub(super) fn check_envelope(bytes: &[u8]) -> Result<(), String> {
    strict_json::check(bytes)?;
    known(&serde_json::from_slice(bytes).map_err(said)?, "dsseEnvelope")
}

/// Hashes of inclusion proofs are base64 of 32 bytes. The crate takes hexadecimal digits, too: base64 of something else.
fn hashes(bundle: &Value) -> Result<(), String> {
    let entries = bundle.pointer("/verificationMaterial/tlogEntries").and_then(Value::as_array);
    let proofs = entries.into_iter().flatten().filter_map(|entry| entry.get("inclusionProof"));
    let hashes = proofs.flat_map(|proof| {
        let path = proof.get("hashes").and_then(Value::as_array).into_iter().flatten();
        path.chain(proof.get("rootHash")).filter_map(Value::as_str)
    });
    match hashes.map(|text| text.trim_end_matches('=').len()).find(|length| *length != 43) {
        Some(_) => Err("a hash of the inclusion proof is not base64 of 32 bytes".to_owned()),
        None => Ok(()),
    }
}

/// Numbers of log entries, where they are texts, have one spelling: the crate takes `+1` and `01` for 1.
fn numbers(bundle: &Value) -> Result<(), String> {
    let entries = bundle.pointer("/verificationMaterial/tlogEntries").and_then(Value::as_array);
    let objects = entries.into_iter().flatten().flat_map(|entry| [Some(entry), entry.get("inclusionProof")]).flatten();
    let texts = objects.flat_map(|object| {
        ["logIndex", "treeSize", "integratedTime"].iter().filter_map(|name| object.get(*name)).filter_map(Value::as_str)
    });
    match texts.into_iter().find(|text| text.parse::<u64>().map(|number| number.to_string()).as_deref() != Ok(*text)) {
        Some(text) => Err(said(format_args!("`{text}` is no number of a log entry"))),
        None => Ok(()),
    }
}

/// Whether every member of the value, which stands under `name`, is one that bundles have.
fn known(value: &Value, name: &str) -> Result<(), String> {
    let members = MEMBERS.iter().find(|(object, _)| *object == name).map(|(_, members)| *members);
    match (value, members) {
        (Value::Object(object), Some(members)) => {
            object.iter().try_for_each(|(key, value)| match members.contains(&key.as_str()) {
                // A hint at the key is nobody's word, and readers differ in what they make of one that does not fit.
                true if key == "keyid" && value.as_str().is_some_and(|id| !id.is_empty()) => {
                    Err("a signature has a `keyid`".to_owned())
                }
                true => known(value, key),
                false => Err(said(format_args!("unknown member `{key}`"))),
            })
        }
        (Value::Array(list), Some(_)) if LISTS.contains(&name) && list.iter().all(Value::is_object) => {
            list.iter().try_for_each(|value| known(value, name))
        }
        // serde would read a list as the members of an object, in order.
        (Value::Array(_), Some(_)) => Err(format!("`{name}` is a list where an object belongs")),
        _ => Ok(()),
    }
}

/// What is wrong, for people. It quotes bytes that nobody signed, so it is cut and made plain.
pub(super) fn said(error: impl std::fmt::Display) -> String {
    error.to_string().chars().take(WHY_MAX).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_hashes_have_one_spelling() {
        let hash = "I56ln/so7Z2tDVQ9DHV16s8nLjGeNTIEtz5I8Vg+ATk=";
        let bundle = |index: Value, hash: &str| {
            let proof = json!({ "logIndex": index, "treeSize": "2", "hashes": [hash], "rootHash": hash });
            json!({ "verificationMaterial": { "tlogEntries": [{ "logIndex": "18", "inclusionProof": proof }] } })
        };
        assert_eq!(numbers(&bundle(json!("18"), hash)), Ok(()));
        assert_eq!(numbers(&bundle(json!(18), hash)), Ok(()));
        assert_eq!(hashes(&bundle(json!("18"), hash)), Ok(()));
        for bad in ["+18", "018", "18 ", "1e1", ""] {
            assert!(numbers(&bundle(json!(bad), hash)).is_err(), "{bad}");
        }
        assert!(hashes(&bundle(json!("18"), &"0".repeat(64))).is_err(), "hexadecimal");
    }

    #[test]
    fn an_envelope_has_its_own_members_only() {
        let envelope = |signature: &str| format!(r#"{{"payload":"","payloadType":"","signatures":[{signature}]}}"#);
        for good in [r#"{"sig":""}"#, r#"{"keyid":"","sig":""}"#] {
            assert_eq!(check_envelope(envelope(good).as_bytes()), Ok(()), "{good}");
        }
        for bad in [r#"{"keyid":"x","sig":""}"#, r#"{"sig":"","Sig":""}"#] {
            assert!(check_envelope(envelope(bad).as_bytes()).is_err(), "{bad}");
        }
    }
}
