//! What the fuzz targets share: how data is cut into parts, and a gate with rules to judge them by.

pub mod gate;
pub mod said;

use std::collections::BTreeMap;

/// Stands between the parts of an input. Text, so that seeds can be read and written by people.
const BETWEEN: &[u8] = b"\n====\n";

/// The annotations of cosign's classic layouts, in the order in which they follow the payload.
const ANNOTATIONS: [&str; 5] = [
    "dev.cosignproject.cosign/signature",
    "dev.sigstore.cosign/certificate",
    "dev.sigstore.cosign/bundle",
    "dev.sigstore.cosign/rfc3161timestamp",
    "dev.sigstore.cosign/chain",
];

/// Cuts an input into at most `max` parts; the last keeps what is left.
pub fn parts(mut data: &[u8], max: usize) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while found.len() + 1 < max {
        let Some(at) = data.windows(BETWEEN.len()).position(|window| window == BETWEEN) else { break };
        found.push(&data[..at]);
        data = &data[at + BETWEEN.len()..];
    }
    found.push(data);
    found
}

/// Two texts.
pub fn two_texts(data: &[u8]) -> Option<(&str, &str)> {
    match parts(data, 2)[..] {
        [one, other] => Some((std::str::from_utf8(one).ok()?, std::str::from_utf8(other).ok()?)),
        _ => None,
    }
}

/// A payload and the annotations of its layer. A part that is not there, or is `-`, is no annotation.
pub fn annotated(data: &[u8]) -> (&[u8], BTreeMap<String, String>) {
    let parts = parts(data, ANNOTATIONS.len() + 1);
    let texts = parts[1..].iter().map(|text| String::from_utf8_lossy(text).into_owned());
    let annotations = ANNOTATIONS.into_iter().map(str::to_owned).zip(texts).filter(|(_, text)| text != "-");
    (parts[0], annotations.collect())
}

/// The inverse of [`annotated`].
pub fn joined(payload: &[u8], annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let texts = ANNOTATIONS.iter().map(|name| annotations.get(*name).map_or("-", String::as_str).as_bytes());
    std::iter::once(payload).chain(texts).collect::<Vec<_>>().join(BETWEEN)
}

/// What prints as it parses: reads a text, prints what was read, and reads it again.
pub fn round_trip<T: std::str::FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str) -> Option<T> {
    let read: T = text.parse().ok()?;
    let again: Option<T> = read.to_string().parse().ok();
    assert_eq!(again.as_ref(), Some(&read), "`{text}` prints as `{}`", read.to_string());
    Some(read)
}
