//! RFC 3161 timestamps: by other authorities, at other times, over other bytes; and roots that know nothing else.

use assay::trust::Reason::{MalformedSignature, NoSigningTime, NotInLog, UntrustedCertificate};
use assay::trust::Tlog;
use jiff::SignedDuration;

use super::case::{By, Case, Form, SECOND, Shape, other};
use super::row::{KEYLESS_V2, Row, TIMESTAMPED, row, run};
use crate::support::sigstore::{
    CERTIFICATE_LIFE, Flaw, ISSUED_AT, OTHER_SIGSTORE, SIGNED_AT, SIGSTORE, Signed, TrustedRoot, Window,
};

/// As GitHub's own Sigstore: no logs at all, a timestamp in their place.
fn as_github(case: &mut Case) {
    case.demand.tlog = Tlog::Off;
    case.request = case.request.clone().flaw(Flaw::NoSct);
    case.root(TrustedRoot::timestamps_only);
    case.edit = stamped_only;
}

fn stamped_only(signed: Signed, case: &Case) -> Signed {
    signed.without_log_entry().without_timestamps().timestamped_by(&SIGSTORE.timestamps, case.stamped_at)
}

fn knows_their_timestamps(case: &mut Case) {
    case.root(|mut root| {
        root.timestamp_authorities.extend(OTHER_SIGSTORE.trusted_root().timestamp_authorities);
        root
    });
}

fn by_theirs(signed: Signed, _: &Case) -> Signed {
    signed.without_timestamps().timestamped_by(&OTHER_SIGSTORE.timestamps, SIGNED_AT)
}

const ECDSA_WITH_SHA_256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_WITH_SHA_512: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];

/// Changes how the token says that it was signed, which is not signed and stands there last.
fn says_of_its_signature(mut signed: Signed, algorithm: [u8; 8]) -> Signed {
    for token in &mut signed.timestamps {
        let at = token.windows(8).rposition(|bytes| bytes == ECDSA_WITH_SHA_256).expect("it says so");
        token[at..at + 8].copy_from_slice(&algorithm);
    }
    signed
}

const NO_TIME: &str = "signing time: ";

/// Where the time is proven by nothing else.
const WITH_REKOR_V2: &[Row] = &[
    row(
        14,
        "by another authority, whose certificate is in the token",
        KEYLESS_V2,
        |_| {},
        NoSigningTime,
        "signing time: invalid RFC 3161 timestamp",
    )
    .given(|c| c.edit = by_theirs)
    .beside(knows_their_timestamps),
    row(
        14,
        "over other bytes",
        KEYLESS_V2,
        |c| c.edit = |s, _| s.without_timestamps().timestamped_over(b"something else", &SIGSTORE.timestamps, SIGNED_AT),
        NoSigningTime,
        "Timestamp message hash mismatch",
    ),
    row(
        14,
        "that says of itself that it is signed over another hash",
        TIMESTAMPED,
        |c| c.edit = |signed, _| says_of_its_signature(signed, ECDSA_WITH_SHA_512),
        NoSigningTime,
        "it says that it is signed with 1.2.840.10045.4.3.4 over 2.16.840.1.101.3.4.2.1",
    )
    .beside(|c| c.edit = |signed, _| says_of_its_signature(signed, ECDSA_WITH_SHA_256)),
    row(
        14,
        "that says of itself that it is signed in a way that nobody knows",
        TIMESTAMPED,
        |c| c.edit = |signed, _| says_of_its_signature(signed, [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 0x7f]),
        NoSigningTime,
        "it says that it is signed with 1.2.840.10045.4.3.127 over 2.16.840.1.101.3.4.2.1",
    ),
    row(
        14,
        "of another signature",
        KEYLESS_V2,
        |c| c.edit = |signed, case| signed.swap_timestamps_with(&case.about(other()).signed()),
        NoSigningTime,
        "Timestamp message hash mismatch",
    ),
    row(
        14,
        "broken",
        KEYLESS_V2,
        |c| c.edit = |signed, _| signed.break_timestamps(),
        NoSigningTime,
        "Failed to verify timestamp signature",
    ),
    row(
        14,
        "no token",
        KEYLESS_V2,
        |c| {
            c.edit = |mut signed, _| {
                signed.timestamps = vec![b"token".to_vec()];
                signed
            };
        },
        NoSigningTime,
        "signing time: invalid RFC 3161 timestamp",
    ),
    row(
        14,
        "by an authority that had ended",
        KEYLESS_V2,
        |c| c.root(|root| root.timestamp_authority_valid(Window::until(SIGNED_AT - SECOND))),
        NoSigningTime,
        "validity",
    )
    .beside(|c| c.root(|root| root.timestamp_authority_valid(Window::until(SIGNED_AT)))),
    row(
        14,
        "by an authority that had not begun",
        KEYLESS_V2,
        |c| c.root(|root| root.timestamp_authority_valid(Window::since(SIGNED_AT + SECOND))),
        NoSigningTime,
        "validity",
    )
    .beside(|c| c.root(|root| root.timestamp_authority_valid(Window::since(SIGNED_AT)))),
    row(
        14,
        "by an authority that had ended, within the window of another",
        KEYLESS_V2,
        |c| {
            c.root(|root| root.timestamp_authority_valid(Window::until(SIGNED_AT - SECOND)));
            knows_their_timestamps(c);
        },
        NoSigningTime,
        "validity",
    )
    .beside(knows_their_timestamps),
    row(
        14,
        "where the root knows no authority",
        KEYLESS_V2,
        |c| c.root(TrustedRoot::without_timestamp_authorities),
        NoSigningTime,
        NO_TIME,
    ),
    // Whoever can add a timestamp can also take one out.
    row(
        14,
        "one that counts and one in vain are one that counts; without it none",
        KEYLESS_V2,
        |c| c.edit = by_theirs,
        NoSigningTime,
        "signing time: invalid RFC 3161 timestamp",
    )
    .beside(|c| c.edit = |signed, _| signed.timestamped_by(&OTHER_SIGSTORE.timestamps, SIGNED_AT)),
    row(
        18,
        "one in time and one late",
        KEYLESS_V2,
        |c| {
            c.edit = |signed, _| {
                let late = ISSUED_AT + CERTIFICATE_LIFE + SECOND;
                signed.timestamped_by(&SIGSTORE.timestamps, late)
            };
        },
        UntrustedCertificate,
        "CertExpired",
    )
    .beside(|c| {
        c.edit = |signed, _| {
            let just = ISSUED_AT + CERTIFICATE_LIFE;
            signed.timestamped_by(&SIGSTORE.timestamps, just)
        };
    }),
];

/// Bundles 0.1 must have an entry.
const NEEDS_NO_LOG: &[Shape] = &[
    (Form::Classic, By::Keyless),
    (Form::Bundle02, By::Keyless),
    (Form::Bundle03, By::Keyless),
    (Form::Stamped, By::Keyless),
    (Form::RekorV2, By::Keyless),
];

/// Where the root knows no log.
const AS_GITHUB: &[Row] = &[
    row(
        14,
        "no log and no timestamp",
        NEEDS_NO_LOG,
        |c| c.edit = |signed, _| signed.without_log_entry().without_timestamps(),
        MalformedSignature,
        "bundle must have at least one tlog entry or timestamp",
    )
    .given(as_github),
    row(
        14,
        "no log, and the rule wants one",
        NEEDS_NO_LOG,
        |c| c.demand.tlog = Tlog::Required,
        NotInLog,
        "no transparency log entry",
    )
    .given(as_github),
    row(
        14,
        "no log, and the rule would like one",
        NEEDS_NO_LOG,
        |c| c.demand.tlog = Tlog::Optional,
        NotInLog,
        "no transparency log entry",
    )
    .given(as_github),
    row(
        14,
        "no log, and the root has one",
        NEEDS_NO_LOG,
        |c| {
            c.root(|mut root| {
                root.transparency_logs = SIGSTORE.trusted_root().transparency_logs;
                root
            })
        },
        NotInLog,
        "no transparency log entry",
    )
    .given(as_github),
    row(14, "no log, and another's timestamp", NEEDS_NO_LOG, |_| {}, NoSigningTime, NO_TIME)
        .given(|c| {
            as_github(c);
            c.edit = |signed, case| by_theirs(signed.without_log_entry(), case);
        })
        .beside(knows_their_timestamps),
    row(
        18,
        "no log, timestamped after the certificate ended",
        NEEDS_NO_LOG,
        |c| c.stamped_at = ISSUED_AT + CERTIFICATE_LIFE + SECOND,
        UntrustedCertificate,
        "CertExpired",
    )
    .given(as_github)
    .beside(|c| c.stamped_at = ISSUED_AT + CERTIFICATE_LIFE),
    row(
        18,
        "no log, timestamped before the certificate began",
        NEEDS_NO_LOG,
        |c| c.stamped_at = ISSUED_AT - SECOND,
        UntrustedCertificate,
        "CertNotValidYet",
    )
    .given(as_github)
    .beside(|c| c.stamped_at = ISSUED_AT),
    row(
        18,
        "no log, timestamped in the future",
        NEEDS_NO_LOG,
        |c| c.now = SIGNED_AT - SignedDuration::from_mins(6),
        NoSigningTime,
        "future",
    )
    .given(as_github)
    .beside(|c| c.now = SIGNED_AT - SignedDuration::from_mins(4)),
];

pub fn rows() -> Vec<Row> {
    [WITH_REKOR_V2, AS_GITHUB].concat()
}

#[test]
fn a_timestamp_counts_by_its_authority_and_in_its_time() {
    run(WITH_REKOR_V2);
}

#[test]
fn a_root_may_know_timestamps_only() {
    run(AS_GITHUB);
}
