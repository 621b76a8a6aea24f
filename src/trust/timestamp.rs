//! What the Sigstore verifier does not look at in RFC 3161 timestamps: how the signature says that it was made.
//!
//! Not signed itself, so it proves nothing; but readers that go by it would read the token differently.

use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode as _, Encode as _, Reader as _};

/// Ways to sign, and the hash that belongs to each: ECDSA with a hash, or with a curve or a key and whatever hash.
const SIGNED_WITH: [(&str, Option<&str>); 7] = [
    ("1.2.840.10045.4.3.2", Some("2.16.840.1.101.3.4.2.1")),
    ("1.2.840.10045.4.3.3", Some("2.16.840.1.101.3.4.2.2")),
    ("1.2.840.10045.4.3.4", Some("2.16.840.1.101.3.4.2.3")),
    ("1.2.840.10045.2.1", None),
    ("1.2.840.10045.3.1.7", None),
    ("1.3.132.0.34", None),
    ("1.3.132.0.35", None),
];

/// Checks a token, alone or in its response, whose signature was verified.
///
/// # Errors
/// What is wrong.
pub(super) fn check(token: &[u8]) -> Result<(), String> {
    let text = |error: x509_cert::der::Error| error.to_string();
    let content = ContentInfo::from_der(token).or_else(|_| in_response(token)).map_err(text)?;
    let signed = content.content.to_der().and_then(|der| SignedData::from_der(&der)).map_err(text)?;
    let [signer] = signed.signer_infos.0.as_slice() else { return Err("it has not exactly one signature".to_owned()) };
    let (with, hash) = (signer.signature_algorithm.oid.to_string(), signer.digest_alg.oid.to_string());
    let fits = |(known, wanted): &(&str, Option<&str>)| *known == with && wanted.is_none_or(|wanted| wanted == hash);
    match SIGNED_WITH.iter().any(fits) {
        true => Ok(()),
        false => Err(format!("it says that it is signed with {with} over {hash}")),
    }
}

/// The token in a `TimeStampResp`, behind its status.
fn in_response(response: &[u8]) -> Result<ContentInfo, x509_cert::der::Error> {
    AnyRef::from_der(response)?.sequence(|reader| {
        let _status: AnyRef<'_> = reader.decode()?;
        reader.decode()
    })
}
