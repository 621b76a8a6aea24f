//! cosign's classic layout: a payload, with everything else in its layer's annotations.
//!
//! Turned into a Sigstore bundle v0.1 in memory, so that both layouts go through the same checks
//! (cosign's `SIGNATURE_SPEC.md`).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sigstore_types::Bundle;

use crate::oci::Digest;
use crate::oci::strict_json::{self, Object};

use super::bundle::{check_envelope, read_bundle, said};
use super::certificate::Certificate;
use super::verdict::Reason;
use super::verifier::{Failure, Tlog};

/// Largest payload of a classic signature; cosign's have some 250 bytes.
pub const PAYLOAD_MAX: usize = 64 * 1024;

/// Longest annotation that is read; certificates and log entries have some 5 KiB.
const ANNOTATION_MAX: usize = 128 * 1024;

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
const PAYLOAD_TYPE: &str = "cosign container image signature";
/// With a log entry as Rekor v1 promises it, and without one: version 0.1 insists on a promise.
const BUNDLE_LOGGED: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";
const BUNDLE_BARE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

type Annotations = BTreeMap<String, String>;

/// What the payload of an image signature claims.
pub(super) struct ImageClaims {
    pub reference: String,
    /// The digest as it is written there.
    pub digest: String,
    pub optional: Option<Value>,
}

#[derive(Deserialize)]
struct Payload {
    critical: Object<Critical>,
    #[serde(default)]
    optional: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Object<Identity>,
    image: Object<SignedImage>,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference", default)]
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogBundle {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    payload: Object<LogPayload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogPayload {
    body: String,
    integrated_time: i64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogBody {
    kind: String,
    api_version: String,
}

/// The signature over the payload, decoded.
pub(super) fn signature(annotations: &Annotations) -> Result<Vec<u8>, Failure> {
    if !annotations.contains_key(SIGNATURE) {
        return Err(malformed("signature", format!("annotation `{SIGNATURE}` is missing")));
    }
    let text = annotation(annotations, SIGNATURE)?.unwrap_or_default();
    STANDARD.decode(one_line(text)).map_err(|_| malformed("signature", "the signature is not base64"))
}

/// The payload and its annotations as a bundle. What proves the time and the log is left out for a bare key where the
/// rule does not ask for it: nothing there could count.
pub(super) fn as_bundle(payload: &[u8], annotations: &Annotations, tlog: Tlog) -> Result<Bundle, Failure> {
    let digest = STANDARD.encode(Sha256::digest(payload));
    let content = json!({
        "messageDigest": { "algorithm": "SHA2_256", "digest": digest },
        "signature": STANDARD.encode(signature(annotations)?),
    });
    bundle("messageSignature", content, annotations, tlog)
}

/// A DSSE envelope and its annotations as a bundle.
pub(super) fn attestation_as_bundle(envelope: &[u8], annotations: &Annotations, tlog: Tlog) -> Result<Bundle, Failure> {
    check_envelope(envelope).map_err(|why| malformed("envelope", why))?;
    if !annotations.contains_key(SIGNATURE) {
        return Err(malformed("envelope", format!("annotation `{SIGNATURE}` is missing; cosign leaves it empty here")));
    }
    if annotation(annotations, SIGNATURE)?.is_some() {
        return Err(malformed("envelope", format!("there is a signature in it and one in annotation `{SIGNATURE}`")));
    }
    let content = serde_json::from_slice(envelope).map_err(|why| malformed("envelope", said(why)))?;
    same_envelope(envelope, annotations, tlog)?;
    bundle("dsseEnvelope", content, annotations, tlog)
}

/// The log recorded these very bytes, and no other spelling of the same envelope: the bundle that is made of them has
/// a spelling of its own.
fn same_envelope(envelope: &[u8], annotations: &Annotations, tlog: Tlog) -> Result<(), Failure> {
    let Some(text) = annotation(annotations, LOG_ENTRY)?.filter(|_| tlog != Tlog::Off) else { return Ok(()) };
    let body = log_entry(text)?
        .get("canonicalizedBody")
        .and_then(Value::as_str)
        .map(|body| STANDARD.decode(body).unwrap_or_default());
    let body: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    match body.pointer("/spec/envelopeHash/value").and_then(Value::as_str) {
        Some(logged) if logged != hex::encode(Sha256::digest(envelope)) => {
            Err(malformed("envelope", "the log recorded an envelope of other bytes"))
        }
        _ => Ok(()),
    }
}

fn bundle(kind: &str, content: Value, annotations: &Annotations, tlog: Tlog) -> Result<Bundle, Failure> {
    let mut material = serde_json::Map::new();
    let certificate = annotation(annotations, CERTIFICATE)?;
    let bare = certificate.is_none() && tlog == Tlog::Off;
    // Where it cannot count it must still be an object, as for cosign.
    let entry = match annotation(annotations, LOG_ENTRY)? {
        Some(text) if bare => {
            serde_json::from_str::<serde_json::Map<String, Value>>(text).map_err(|why| malformed("log", said(why)))?;
            None
        }
        text => text.map(log_entry).transpose()?,
    };
    match (certificate, &entry) {
        (Some(pem), Some(_)) => {
            let chain = json!({ "certificates": [{ "rawBytes": leaf(pem)? }] });
            material.insert("x509CertificateChain".to_owned(), chain)
        }
        (Some(pem), None) => material.insert("certificate".to_owned(), json!({ "rawBytes": leaf(pem)? })),
        (None, _) => material.insert("publicKey".to_owned(), json!({ "hint": "" })),
    };
    // It counts for nothing: the intermediate comes from the trusted root. Yet it is read, as cosign does.
    if certificate.is_some() {
        chain(annotation(annotations, CHAIN)?.unwrap_or_default())?;
    }
    let version = if entry.is_some() { BUNDLE_LOGGED } else { BUNDLE_BARE };
    if let Some(entry) = entry {
        // The log's entry has the signature as one line, and cosign compares the texts.
        if annotation(annotations, SIGNATURE)?.is_some_and(|signature| signature != one_line(signature)) {
            return Err(malformed("signature", "the signature has line ends, other than in the log"));
        }
        material.insert("tlogEntries".to_owned(), json!([entry]));
    }
    let token = annotation(annotations, TIMESTAMP)?.map(timestamp).transpose()?.flatten();
    if let Some(token) = token.filter(|_| !bare) {
        let data = json!({ "rfc3161Timestamps": [{ "signedTimestamp": token }] });
        material.insert("timestampVerificationData".to_owned(), data);
    }
    let text = json!({ "mediaType": version, "verificationMaterial": material, kind: content }).to_string();
    read_bundle(text.as_bytes()).map_err(|why| malformed("annotations", why))
}

/// A value that is there and not empty.
fn annotation<'a>(annotations: &'a Annotations, name: &str) -> Result<Option<&'a str>, Failure> {
    let Some(text) = annotations.get(name).map(String::as_str).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.len() > ANNOTATION_MAX {
        let detail = format!("annotation `{name}` has {} bytes, more than {ANNOTATION_MAX}", text.len());
        return Err(Failure::new("annotations", Reason::OverLimit, detail));
    }
    Ok(Some(text))
}

/// Go writers wrap base64 over lines, and Go readers skip the line ends.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect()
}

/// The first certificate of a PEM text that holds certificates and nothing else, in base64.
fn leaf(pem: &str) -> Result<String, Failure> {
    let (body, rest) = certificate(pem)?;
    chain(rest)?;
    Ok(body)
}

/// Checks that a text holds certificates and nothing else.
fn chain(mut pem: &str) -> Result<(), Failure> {
    while !pem.is_empty() {
        let (body, rest) = certificate(pem)?;
        let der = STANDARD.decode(&body).unwrap_or_default();
        Certificate::from_der(&der).map_err(|why| malformed("certificate", format!("annotation `{CHAIN}`: {why}")))?;
        pem = rest;
    }
    Ok(())
}

/// The first certificate of a PEM text, in base64, and what follows it.
fn certificate(pem: &str) -> Result<(String, &str), Failure> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let block = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let (body, rest) = block.ok_or_else(|| malformed("certificate", "the annotation holds no PEM certificate"))?;
    if !body.starts_with(['\n', '\r']) || !body.ends_with('\n') {
        return Err(malformed("certificate", "the PEM certificate does not stand on lines of its own"));
    }
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    match STANDARD.decode(&body) {
        Ok(_) => Ok((body, rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest))),
        Err(_) => Err(malformed("certificate", "the PEM certificate is not base64 inside")),
    }
}

fn log_entry(text: &str) -> Result<Value, Failure> {
    let wrong = |why: String| malformed("log", format!("annotation `{LOG_ENTRY}`: {why}"));
    strict_json::check(text.as_bytes()).map_err(wrong)?;
    let Object(LogBundle { promise, payload: Object(payload) }) =
        serde_json::from_str(text).map_err(|why| wrong(said(why)))?;
    let body = one_line(&payload.body);
    let decoded = STANDARD.decode(&body).map_err(|_| wrong("the body is not base64".to_owned()))?;
    strict_json::check(&decoded).map_err(wrong)?;
    let promise = one_line(&promise);
    STANDARD.decode(&promise).map_err(|_| wrong("the signed entry timestamp is not base64".to_owned()))?;
    let Object(LogBody { kind, api_version }) = serde_json::from_slice(&decoded).map_err(|why| wrong(said(why)))?;
    let log_id = hex::decode(&payload.log_id).map_err(|_| wrong("the log ID is not hex".to_owned()))?;
    Ok(json!({
        "logIndex": payload.log_index.to_string(),
        "logId": { "keyId": STANDARD.encode(log_id) },
        "kindVersion": { "kind": kind, "version": api_version },
        "integratedTime": payload.integrated_time.to_string(),
        "inclusionPromise": { "signedEntryTimestamp": promise },
        "canonicalizedBody": body,
    }))
}

fn timestamp(text: &str) -> Result<Option<String>, Failure> {
    #[derive(Deserialize)]
    struct Timestamp {
        #[serde(rename = "SignedRFC3161Timestamp", default)]
        token: Option<String>,
    }
    let wrong = |why: String| malformed("signing time", format!("annotation `{TIMESTAMP}`: {why}"));
    strict_json::check(text.as_bytes()).map_err(wrong)?;
    let found: Option<Object<Timestamp>> = serde_json::from_str(text).map_err(|why| wrong(said(why)))?;
    Ok(found.and_then(|Object(found)| found.token).map(|token| one_line(&token)).filter(|token| !token.is_empty()))
}

/// Reads the payload of an image signature, whose signature was verified before.
pub(super) fn claims(payload: &[u8]) -> Result<ImageClaims, Failure> {
    strict_json::check(payload).map_err(|why| malformed("payload", why))?;
    let Object(read): Object<Payload> =
        serde_json::from_slice(payload).map_err(|why| malformed("payload", said(why)))?;
    let Object(Critical { identity: Object(identity), image: Object(image), kind }) = read.critical;
    if kind != PAYLOAD_TYPE {
        let detail = format!("found `{kind}`, expected `{PAYLOAD_TYPE}`");
        return Err(Failure::new("payload type", Reason::NotASignature, detail));
    }
    if read.optional.as_ref().is_some_and(|optional| !optional.is_object() && !optional.is_null()) {
        return Err(malformed("payload", "`optional` is no object"));
    }
    let digest = image.docker_manifest_digest;
    Ok(ImageClaims { reference: identity.docker_reference, digest, optional: read.optional })
}

/// The payload's digest and what it was asked about.
pub(super) fn is_about(claims: &ImageClaims, digest: Digest) -> Result<(), Failure> {
    if claims.digest == digest.to_string() {
        return Ok(());
    }
    let detail = format!("signed is {}, asked is {digest}", claims.digest);
    Err(Failure::new("subject", Reason::WrongSubject, detail))
}

fn malformed(check: &'static str, why: impl Into<String>) -> Failure {
    Failure::new(check, Reason::MalformedSignature, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE_ANNOTATION: (&str, &str) = (SIGNATURE, "MEUCIFDIACdl");

    fn read(more: &[(&str, &str)]) -> Result<Bundle, Failure> {
        let pairs = [SIGNATURE_ANNOTATION].into_iter().chain(more.iter().copied());
        as_bundle(b"{}", &pairs.map(|(name, text)| (name.to_owned(), text.to_owned())).collect(), Tlog::Off)
    }

    /// Differences to cosign that mutated annotations brought to light: it reads them all, and as they are.
    #[test]
    fn an_annotation_that_cosign_cannot_read_is_refused() {
        assert!(read(&[]).is_ok());
        assert!(read(&[(TIMESTAMP, ""), (LOG_ENTRY, ""), (CERTIFICATE, ""), (CHAIN, "")]).is_ok());
        for bad in
            [(TIMESTAMP, " "), (LOG_ENTRY, " "), (CERTIFICATE, " "), (SIGNATURE, "MEUCIFDIACdl "), (TIMESTAMP, "x")]
        {
            assert!(read(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_text_of_certificates_holds_nothing_else() {
        assert!(chain("").is_ok());
        for bad in ["null", " ", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"] {
            assert!(chain(bad).is_err(), "{bad:?}");
        }
        let block = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----";
        assert_eq!(certificate(&format!("{block}\n")).unwrap(), ("MAA=".to_owned(), ""));
        assert!(certificate(&block.replace('\n', "")).is_err(), "one line");
        assert!(certificate(&block.replacen('\n', "", 1)).is_err(), "no line of its own for the beginning");
        assert!(certificate(&block.replace("=\n", "=")).is_err(), "no line of its own for the end");
        assert_eq!(certificate(&format!("{block}\n\0")).unwrap(), ("MAA=".to_owned(), "\0"));
    }

    #[test]
    fn optional_is_an_object_or_nothing() {
        let payload = |optional: &str| {
            let digest = "0".repeat(64);
            format!(
                r#"{{"critical":{{"identity":{{}},"image":{{"docker-manifest-digest":"sha256:{digest}"}},"type":"{PAYLOAD_TYPE}"}},"optional":{optional}}}"#
            )
        };
        for good in ["null", "{}", r#"{"build":"42"}"#] {
            assert!(claims(payload(good).as_bytes()).is_ok(), "{good}");
        }
        for bad in ["[]", r#""x""#, "1"] {
            assert!(claims(payload(bad).as_bytes()).is_err(), "{bad}");
        }
    }
}
