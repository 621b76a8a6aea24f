//! Certificates: of other authorities, for other uses, unlogged, and at other times than they hold.

use std::sync::LazyLock;

use assay::trust::Reason::{MalformedSignature, NoSigningTime, NotInLog, UntrustedCertificate};
use jiff::{SignedDuration, Timestamp};

use super::case::{By, Case, Form, SECOND, Shape};
use super::row::{KEYLESS, KEYLESS_V2, PROMISED, REKOR_V2, Row, TIMED_BY_LOG, TIMESTAMPED, row, run};
use crate::support::sigstore::{
    CERTIFICATE_LIFE, Flaw, ISSUED_AT, OTHER_SIGSTORE, SIGNED_AT, SIGSTORE, Sigstore, Window,
};

/// Its intermediate ended a second before the signature.
static ENDED: LazyLock<Sigstore> = LazyLock::new(|| Sigstore::with_intermediate_until(SIGNED_AT - SECOND));
/// Its intermediate ended with the signature.
static ENDING: LazyLock<Sigstore> = LazyLock::new(|| Sigstore::with_intermediate_until(SIGNED_AT));

/// Their roots ended a second before the signature and with it; what lies below them had not.
static ROOT_ENDED: LazyLock<Sigstore> = LazyLock::new(|| Sigstore::with_root_until(SIGNED_AT - SECOND));
static ROOT_ENDING: LazyLock<Sigstore> = LazyLock::new(|| Sigstore::with_root_until(SIGNED_AT));

fn under(case: &mut Case, sigstore: &'static Sigstore) {
    case.sigstore = sigstore;
    case.roots = vec![sigstore.trusted_root()];
}

fn flawed(case: &mut Case, flaw: Flaw) {
    case.request = case.request.clone().flaw(flaw);
}

fn logged_at(case: &mut Case, after: SignedDuration) {
    case.logged_at = ISSUED_AT + after;
    case.stamped_at = case.logged_at;
}

/// Brings its intermediate along, and only the root above it is trusted.
fn brings_chain(case: &mut Case) {
    case.edit = |signed, _| signed.chain_shown();
    case.root(|mut root| {
        root.certificate_authorities[0].chain.remove(0);
        root
    });
}

/// CVE-2026-24122 and its class: everything above the certificate must have held, too.
const AUTHORITIES: &[Row] = &[
    row(
        11,
        "an authority whose window had ended",
        KEYLESS,
        |c| c.root(|root| root.certificate_authority_valid(Window::until(SIGNED_AT - SECOND))),
        UntrustedCertificate,
        "certificate: ",
    )
    .beside(|c| c.root(|root| root.certificate_authority_valid(Window::until(SIGNED_AT)))),
    row(
        11,
        "an authority whose root had ended, with an intermediate that had not",
        KEYLESS,
        |c| under(c, &ROOT_ENDED),
        UntrustedCertificate,
        "an authority above it was not valid at 2026-06-01T12:00:05Z",
    )
    .beside(|c| under(c, &ROOT_ENDING)),
    row(
        11,
        "an authority whose window had ended, named by its intermediate alone",
        KEYLESS,
        |c| c.root(|root| root.certificate_authority_valid(Window::until(SIGNED_AT - SECOND))),
        UntrustedCertificate,
        "certificate: ",
    )
    .given(|c| {
        c.root(|mut root| {
            root.certificate_authorities[0].chain.truncate(1);
            root
        });
    }),
    row(
        11,
        "an authority whose window had not begun",
        KEYLESS,
        |c| c.root(|root| root.certificate_authority_valid(Window::since(SIGNED_AT + SECOND))),
        UntrustedCertificate,
        "certificate: ",
    )
    .beside(|c| c.root(|root| root.certificate_authority_valid(Window::since(SIGNED_AT)))),
    row(
        11,
        "a certificate that outlives the intermediate of the trusted root",
        KEYLESS,
        |c| under(c, &ENDED),
        UntrustedCertificate,
        "certificate: ",
    )
    .beside(|c| under(c, &ENDING)),
    row(
        11,
        "a certificate that outlives its intermediate, beside an authority of the same name that holds",
        KEYLESS,
        |c| {
            under(c, &ENDED);
            c.root(|root| root.and(SIGSTORE.trusted_root()));
        },
        UntrustedCertificate,
        "certificate: ",
    )
    .beside(|c| {
        under(c, &ENDING);
        c.root(|root| root.and(SIGSTORE.trusted_root()));
    }),
    row(
        11,
        "a certificate that outlives the intermediate that it brings along",
        &[(Form::Bundle01, By::Keyless), (Form::Bundle02, By::Keyless)],
        |c| {
            under(c, &ENDED);
            brings_chain(c);
        },
        UntrustedCertificate,
        "CertExpired",
    )
    .beside(|c| {
        under(c, &ENDING);
        brings_chain(c);
    }),
];

/// Against the time that is proven: neither now, nor when the certificate was issued.
const TIMES: &[Row] = &[
    row(
        18,
        "expired when it signed",
        KEYLESS,
        |c| c.request = c.request.clone().lasting(SignedDuration::from_secs(4)),
        UntrustedCertificate,
        "CertExpired",
    )
    .beside(|c| c.request = c.request.clone().lasting(SignedDuration::from_secs(5))),
    row(
        18,
        "not yet valid when it signed",
        KEYLESS,
        |c| c.request = c.request.clone().issued_at(SIGNED_AT + SECOND),
        UntrustedCertificate,
        "CertNotValidYet",
    )
    .beside(|c| c.request = c.request.clone().issued_at(SIGNED_AT)),
    row(
        18,
        "logged after the certificate ended",
        KEYLESS,
        |c| logged_at(c, CERTIFICATE_LIFE + SECOND),
        UntrustedCertificate,
        "CertExpired",
    )
    .beside(|c| logged_at(c, CERTIFICATE_LIFE)),
    row(
        18,
        "logged before the certificate began",
        KEYLESS,
        |c| logged_at(c, -SECOND),
        UntrustedCertificate,
        "CertNotValidYet",
    )
    .beside(|c| logged_at(c, SignedDuration::ZERO)),
    row(
        18,
        "logged in time, timestamped late",
        TIMESTAMPED,
        |c| c.stamped_at = ISSUED_AT + CERTIFICATE_LIFE + SECOND,
        UntrustedCertificate,
        "CertExpired",
    )
    .beside(|c| c.stamped_at = ISSUED_AT + CERTIFICATE_LIFE),
    row(
        18,
        "timestamped in time, logged late",
        &[(Form::Stamped, By::Keyless)],
        |c| c.logged_at = ISSUED_AT + CERTIFICATE_LIFE + SECOND,
        UntrustedCertificate,
        "CertExpired",
    )
    .beside(|c| c.logged_at = ISSUED_AT + CERTIFICATE_LIFE),
    row(
        18,
        "the log's time is edited",
        PROMISED,
        |c| c.edit = |signed, _| signed.set_integrated_time(SIGNED_AT + SECOND),
        NotInLog,
        "SET verification failed",
    ),
    row(
        18,
        "the log's time is taken out",
        PROMISED,
        |c| c.edit = |signed, _| signed.edit_entry(|entry| entry.integrated_time = None),
        NotInLog,
        "log: ",
    )
    .but(TIMED_BY_LOG, NoSigningTime, "No verified timestamp found"),
    row(
        18,
        "a proof that tells no time, and a timestamp that does",
        NEEDS_NO_PROMISE,
        |c| c.edit = |signed, _| signed.without_promise().timestamped_by(&SIGSTORE.timestamps, SIGNED_AT),
        NotInLog,
        "no signed entry timestamp",
    )
    .beside(|c| c.edit = |signed, _| signed.timestamped_by(&SIGSTORE.timestamps, SIGNED_AT)),
    row(
        18,
        "a second Rekor's entry without a timestamp",
        KEYLESS_V2,
        |c| c.edit = |signed, _| signed.without_timestamps(),
        NoSigningTime,
        "signing time: ",
    ),
    row(
        18,
        "a second Rekor's entry that claims a time itself",
        KEYLESS_V2,
        |c| c.edit = |signed, _| signed.without_timestamps().set_integrated_time(SIGNED_AT),
        NoSigningTime,
        "signing time: ",
    ),
    row(
        18,
        "a second Rekor's entry that claims a time beside a timestamp",
        REKOR_V2,
        |c| c.edit = |signed, _| signed.set_integrated_time(SIGNED_AT),
        MalformedSignature,
        "the entry says 2026-06-01T12:00:05Z, and the second Rekor signs no time",
    )
    .beside(|c| c.edit = |signed, _| signed.set_integrated_time(Timestamp::UNIX_EPOCH)),
    row(
        18,
        "logged in the future",
        TIMED_BY_LOG,
        |c| c.now = SIGNED_AT - SignedDuration::from_mins(5) - SECOND,
        NoSigningTime,
        "future",
    )
    .beside(|c| c.now = SIGNED_AT - SignedDuration::from_mins(5)),
    row(
        18,
        "timestamped in the future",
        TIMESTAMPED,
        |c| c.now = SIGNED_AT - SignedDuration::from_mins(6),
        NoSigningTime,
        "future",
    )
    .beside(|c| c.now = SIGNED_AT - SignedDuration::from_mins(4)),
];

/// Bundles 0.1 must have one.
const NEEDS_NO_PROMISE: &[Shape] = &[(Form::Bundle02, By::Keyless), (Form::Bundle03, By::Keyless)];

/// Certificates must have been logged, by a log that counted then.
const UNLOGGED: &[Row] = &[
    row(28, "no certificate timestamp", KEYLESS, |c| flawed(c, Flaw::NoSct), UntrustedCertificate, "missing SCT"),
    row(
        28,
        "no certificate timestamp where the root has a log for it",
        KEYLESS,
        |_| {},
        UntrustedCertificate,
        "missing SCT",
    )
    .given(|c| flawed(c, Flaw::NoSct))
    .beside(|c| c.root(|root| root.without_certificate_logs())),
    row(28, "two certificate timestamps", KEYLESS, |c| flawed(c, Flaw::TwoScts), UntrustedCertificate, "multiple SCTs"),
    row(
        28,
        "a certificate timestamp by another log",
        KEYLESS,
        |c| flawed(c, Flaw::SctByAnotherLog),
        UntrustedCertificate,
        "key not found",
    ),
    row(
        28,
        "a certificate timestamp over another certificate",
        KEYLESS,
        |c| flawed(c, Flaw::SctOverAnother),
        UntrustedCertificate,
        "SCT signature verification failed",
    ),
    row(
        28,
        "a certificate log of the same name that nobody knows",
        KEYLESS,
        |c| {
            c.root(|mut root| {
                root.certificate_logs = OTHER_SIGSTORE.trusted_root().certificate_logs;
                root
            });
        },
        UntrustedCertificate,
        "key not found",
    ),
    row(
        28,
        "a certificate log that had ended",
        KEYLESS,
        |c| c.root(|root| root.certificate_log_valid(Window::until(ISSUED_AT - SECOND))),
        UntrustedCertificate,
        "key not found",
    )
    .beside(|c| c.root(|root| root.certificate_log_valid(Window::until(ISSUED_AT)))),
    row(
        28,
        "a certificate log that had not begun",
        KEYLESS,
        |c| c.root(|root| root.certificate_log_valid(Window::since(ISSUED_AT + SECOND))),
        UntrustedCertificate,
        "key not found",
    )
    .beside(|c| c.root(|root| root.certificate_log_valid(Window::since(ISSUED_AT)))),
];

/// The right names are not the right authority, and the right authority issues for other uses, too.
const STRANGERS: &[Row] = &[
    row(
        29,
        "another authority of the same name",
        KEYLESS,
        |c| flawed(c, Flaw::OtherAuthority),
        UntrustedCertificate,
        "InvalidSignatureForPublicKey",
    ),
    row(29, "issued by itself", KEYLESS, |c| flawed(c, Flaw::SelfSigned), UntrustedCertificate, "UnknownIssuer"),
    row(29, "for servers", KEYLESS, |c| flawed(c, Flaw::WrongUsage), UntrustedCertificate, "RequiredEkuNotFound"),
    row(29, "for anything", KEYLESS, |c| flawed(c, Flaw::NoUsage), UntrustedCertificate, "RequiredEkuNotFound"),
    row(
        29,
        "all of another Sigstore with the same names",
        KEYLESS,
        |c| c.sigstore = &OTHER_SIGSTORE,
        NotInLog,
        "log: it is in a log that the trusted root `root 0` does not name",
    )
    .but(TIMESTAMPED, NoSigningTime, "signing time: invalid RFC 3161 timestamp")
    .beside(|c| {
        c.sigstore = &OTHER_SIGSTORE;
        c.root(|root| root.and(OTHER_SIGSTORE.trusted_root()));
    }),
    row(
        29,
        "under another root than the rule's",
        KEYLESS,
        |c| c.roots = vec![OTHER_SIGSTORE.trusted_root()],
        NotInLog,
        "log: it is in a log that the trusted root `root 0` does not name",
    )
    .but(TIMESTAMPED, NoSigningTime, "signing time: invalid RFC 3161 timestamp")
    .beside(|c| c.roots.insert(0, OTHER_SIGSTORE.trusted_root())),
    row(
        29,
        "under none of two roots",
        KEYLESS,
        |c| c.roots = vec![OTHER_SIGSTORE.trusted_root(), ENDED.trusted_root()],
        NotInLog,
        "log: it is in a log that the trusted root `root 0` does not name",
    )
    .but(TIMESTAMPED, NoSigningTime, "signing time: invalid RFC 3161 timestamp")
    .beside(|c| c.roots.extend([OTHER_SIGSTORE.trusted_root(), ENDED.trusted_root()])),
    row(
        29,
        "the certificate under one root, the log under another",
        KEYLESS,
        |c| {
            let (mut ours, mut theirs) = (SIGSTORE.trusted_root(), OTHER_SIGSTORE.trusted_root());
            std::mem::swap(&mut ours.transparency_logs, &mut theirs.transparency_logs);
            c.roots = vec![ours, theirs];
        },
        NotInLog,
        "log: ",
    )
    .beside(|c| c.roots = vec![SIGSTORE.trusted_root(), OTHER_SIGSTORE.trusted_root()]),
    row(
        29,
        "the log under one root, the certificate under another",
        KEYLESS,
        |c| {
            let (mut ours, mut theirs) = (SIGSTORE.trusted_root(), OTHER_SIGSTORE.trusted_root());
            std::mem::swap(&mut ours.certificate_authorities, &mut theirs.certificate_authorities);
            c.roots = vec![ours, theirs];
        },
        UntrustedCertificate,
        "certificate: ",
    )
    .but(TIMED_BY_LOG, NotInLog, "log: ")
    .beside(|c| c.roots = vec![SIGSTORE.trusted_root(), OTHER_SIGSTORE.trusted_root()]),
    row(29, "under no root", KEYLESS, |c| c.roots.clear(), UntrustedCertificate, "the rule has no trusted root"),
];

pub fn rows() -> Vec<Row> {
    [AUTHORITIES, TIMES, UNLOGGED, STRANGERS].concat()
}

#[test]
fn whoever_vouches_must_have_held_when_it_was_signed() {
    run(AUTHORITIES);
}

#[test]
fn the_time_that_counts_is_the_one_that_is_proven() {
    run(TIMES);
}

#[test]
fn certificates_must_have_been_logged() {
    run(UNLOGGED);
}

#[test]
fn only_the_rules_own_authorities_count() {
    run(STRANGERS);
}
