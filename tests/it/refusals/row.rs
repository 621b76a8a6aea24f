//! Rows of the table of refusals, and how they are judged.

use assay::trust::Reason;

use super::case::{By, Case, Form, IMAGE, Outcome, Shape, other, subject};

/// One thing wrong, in every form in which it can be, and the reason for the refusal.
#[derive(Clone, Copy)]
pub struct Row {
    /// Of the list of advisories.
    pub number: u8,
    pub name: &'static str,
    pub shapes: &'static [Shape],
    /// What the refused one and its honest sibling have in common, besides being honest.
    pub given: fn(&mut Case),
    /// What is wrong.
    pub change: fn(&mut Case),
    /// What the sibling has in its place; nothing if absent.
    pub honest: fn(&mut Case),
    pub code: &'static str,
    /// In these shapes, another code and text.
    pub but: [Option<But>; 2],
    /// What the detail names; `{subject}`, `{other}` and `{platform}` are digests. `|` stands between alternatives.
    pub says: &'static str,
}

type But = (&'static [Shape], &'static str, &'static str);

pub const fn row(
    number: u8,
    name: &'static str,
    shapes: &'static [Shape],
    change: fn(&mut Case),
    reason: Reason,
    says: &'static str,
) -> Row {
    Row { number, name, shapes, given: |_| {}, change, honest: |_| {}, code: code(reason), but: [None; 2], says }
}

/// `Reason::code` cannot be called in constants.
const fn code(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSignature => "NO_SIGNATURE",
        Reason::MalformedSignature => "MALFORMED_SIGNATURE",
        Reason::UntrustedKey => "UNTRUSTED_KEY",
        Reason::InvalidSignature => "INVALID_SIGNATURE",
        Reason::UntrustedCertificate => "UNTRUSTED_CERTIFICATE",
        Reason::NoSigningTime => "NO_SIGNING_TIME",
        Reason::NotInLog => "NOT_IN_LOG",
        Reason::WrongIdentity => "WRONG_IDENTITY",
        Reason::Denied => "DENIED",
        Reason::SignatureTooOld => "SIGNATURE_TOO_OLD",
        Reason::FormatNotAccepted => "FORMAT_NOT_ACCEPTED",
        Reason::WrongAnnotation => "WRONG_ANNOTATION",
        Reason::MissingAttestation => "MISSING_ATTESTATION",
        Reason::WrongAttestation => "WRONG_ATTESTATION",
        Reason::KeyOutsideValidity => "KEY_OUTSIDE_VALIDITY",
        Reason::NotASignature => "NOT_A_SIGNATURE",
        Reason::WrongSubject => "WRONG_SUBJECT",
        Reason::WrongReference => "WRONG_REFERENCE",
        Reason::MissingSigner => "MISSING_SIGNER",
        Reason::OverLimit => "OVER_LIMIT",
        _ => panic!("not a reason of the gate for signatures"),
    }
}

impl Row {
    /// Both are so.
    pub const fn given(self, given: fn(&mut Case)) -> Self {
        Self { given, ..self }
    }

    /// The sibling has this instead.
    pub const fn beside(self, honest: fn(&mut Case)) -> Self {
        Self { honest, ..self }
    }

    /// In these shapes it is refused for another reason.
    pub const fn but(self, shapes: &'static [Shape], reason: Reason, says: &'static str) -> Self {
        let but = Some((shapes, code(reason), says));
        Self { but: [but, self.but[0]], ..self }
    }

    fn judged(&self, shape: Shape, change: fn(&mut Case)) -> Outcome {
        let mut case = Case::honest(shape);
        (self.given)(&mut case);
        change(&mut case);
        case.outcome()
    }

    /// What is not as it should be.
    fn wrong(&self, shape: Shape) -> Vec<String> {
        let but = self.but.into_iter().flatten().find(|(shapes, ..)| shapes.contains(&shape));
        let (wanted, says) = but.map_or((self.code, self.says), |(_, code, says)| (code, says));
        let mut wrong = Vec::new();
        if let Err((code, detail)) = self.judged(shape, self.honest) {
            wrong.push(format!("the honest sibling is refused: {code}: {detail}"));
        }
        match self.judged(shape, self.change) {
            Ok(()) => wrong.push(format!("ALLOWED, expected {wanted}")),
            Err((code, detail)) if code != wanted || !is_said(says, &detail) => {
                wrong.push(format!("{code}: {detail}\n      expected {wanted}: {says}"));
            }
            Err(_) => {}
        }
        wrong
            .into_iter()
            .map(|wrong| format!("row {}, {shape:?}: {}:\n      {wrong}", self.number, self.name))
            .collect()
    }
}

fn is_said(says: &str, detail: &str) -> bool {
    let said = says
        .replace("{subject}", &subject().to_string())
        .replace("{other}", &other().to_string())
        .replace("{platform}", &IMAGE.platforms[0].manifest.digest.to_string());
    said.split('|').any(|said| detail.contains(said))
}

/// Each row is refused for its reason, in so many words, in every form; and its honest sibling is allowed.
pub fn run(rows: &[Row]) {
    let wrong: Vec<String> =
        rows.iter().flat_map(|row| row.shapes.iter().flat_map(|shape| row.wrong(*shape))).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

const fn keyless(form: Form) -> Shape {
    (form, By::Keyless)
}

const fn by_key(form: Form) -> Shape {
    (form, By::Key)
}

use Form::{Bundle01, Bundle02, Bundle03, Classic, RekorV2, Stamped};

pub const ALL: &[Shape] = &[
    keyless(Classic),
    keyless(Bundle01),
    keyless(Bundle02),
    keyless(Bundle03),
    keyless(Stamped),
    keyless(RekorV2),
    by_key(Classic),
    by_key(Bundle01),
    by_key(Bundle02),
    by_key(Bundle03),
    by_key(Stamped),
    by_key(RekorV2),
];
pub const KEYLESS: &[Shape] =
    &[keyless(Classic), keyless(Bundle01), keyless(Bundle02), keyless(Bundle03), keyless(Stamped), keyless(RekorV2)];
pub const KEYS: &[Shape] =
    &[by_key(Classic), by_key(Bundle01), by_key(Bundle02), by_key(Bundle03), by_key(Stamped), by_key(RekorV2)];
pub const CLASSIC: &[Shape] = &[keyless(Classic), by_key(Classic)];
pub const BUNDLES: &[Shape] = &[
    keyless(Bundle01),
    keyless(Bundle02),
    keyless(Bundle03),
    keyless(Stamped),
    keyless(RekorV2),
    by_key(Bundle01),
    by_key(Bundle02),
    by_key(Bundle03),
    by_key(Stamped),
    by_key(RekorV2),
];
pub const KEYLESS_BUNDLES: &[Shape] =
    &[keyless(Bundle01), keyless(Bundle02), keyless(Bundle03), keyless(Stamped), keyless(RekorV2)];
pub const KEY_BUNDLES: &[Shape] =
    &[by_key(Bundle01), by_key(Bundle02), by_key(Bundle03), by_key(Stamped), by_key(RekorV2)];
/// Bundles in Rekor v1 without a timestamp.
pub const BUNDLES_V1: &[Shape] =
    &[keyless(Bundle01), keyless(Bundle02), keyless(Bundle03), by_key(Bundle01), by_key(Bundle02), by_key(Bundle03)];
/// Whatever Rekor v1 promises.
pub const PROMISED: &[Shape] = &[
    keyless(Classic),
    keyless(Bundle01),
    keyless(Bundle02),
    keyless(Bundle03),
    keyless(Stamped),
    by_key(Classic),
    by_key(Bundle01),
    by_key(Bundle02),
    by_key(Bundle03),
    by_key(Stamped),
];
pub const REKOR_V2: &[Shape] = &[keyless(RekorV2), by_key(RekorV2)];
pub const KEYLESS_V2: &[Shape] = &[keyless(RekorV2)];
/// Keyless, with the time from the log alone.
pub const TIMED_BY_LOG: &[Shape] = &[keyless(Classic), keyless(Bundle01), keyless(Bundle02), keyless(Bundle03)];
/// Keyless, with a timestamp.
pub const TIMESTAMPED: &[Shape] = &[keyless(Stamped), keyless(RekorV2)];
/// Logged as a hash.
pub const HASHED: &[Shape] = &[keyless(Classic), keyless(RekorV2), by_key(Classic), by_key(RekorV2)];
/// By keys, with a timestamp.
pub const TIMESTAMPED_KEYS: &[Shape] = &[by_key(Stamped), by_key(RekorV2)];
/// One of each generation.
pub const ONE_EACH: &[Shape] = &[keyless(Classic), keyless(Bundle03), keyless(RekorV2)];
