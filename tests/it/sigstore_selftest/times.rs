//! Everything that can be wrong with RFC 3161 timestamps.

use jiff::{SignedDuration, Timestamp};

use crate::sigstore_selftest::verify::{REFERENCE, assert_accepted, assert_refused, release, subject, verify};
use crate::support::sigstore::{ISSUED_AT, OTHER_SIGSTORE, SIGNED_AT, SIGSTORE, Signed, Window};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Signed and logged in Rekor v2, which knows no time.
fn untimed() -> Signed {
    SIGSTORE.sign_bundle_v2(&release(), subject()).without_timestamps()
}

fn timed(at: Timestamp) -> Signed {
    untimed().timestamped_by(&SIGSTORE.timestamps, at)
}

#[track_caller]
fn refused(what: &str, signed: &Signed, reason: &str) {
    assert_refused(what, verify(&SIGSTORE.trusted_root(), signed), reason);
}

#[track_caller]
fn accepted(what: &str, signed: &Signed) {
    assert_accepted(what, verify(&SIGSTORE.trusted_root(), signed));
}

#[test]
fn a_timestamp_says_when() {
    for at in [ISSUED_AT, SIGNED_AT, ISSUED_AT + SignedDuration::from_mins(10)] {
        let result = assert_accepted("in time", verify(&SIGSTORE.trusted_root(), &timed(at)));
        assert_eq!(result.verified_timestamps(), [at]);
    }
    refused("before", &timed(ISSUED_AT - SECOND), "CertNotValidYet");
    refused("after", &timed(ISSUED_AT + SignedDuration::from_mins(10) + SECOND), "CertExpired");
    refused("none", &untimed(), "no verified timestamp");
}

#[test]
fn every_timestamp_counts() {
    let late = ISSUED_AT + SignedDuration::from_hours(1);
    let twice = |at| timed(SIGNED_AT).timestamped_by(&SIGSTORE.timestamps, at);
    accepted("both in time", &twice(SIGNED_AT));
    refused("one late", &twice(late), "CertExpired");
    accepted("repeated", &timed(SIGNED_AT).repeat_timestamps(3));
    let classic = || SIGSTORE.sign_classic(&release(), REFERENCE, subject());
    accepted("classic in time", &classic().timestamped_by(&SIGSTORE.timestamps, SIGNED_AT));
    refused("classic late", &classic().timestamped_by(&SIGSTORE.timestamps, late), "CertExpired");
}

#[test]
fn a_timestamp_is_for_one_signature_and_by_one_authority() {
    let over = |bytes: &[u8]| untimed().timestamped_over(bytes, &SIGSTORE.timestamps, SIGNED_AT);
    refused("over other bytes", &over(b"something else"), "mismatch");
    refused("broken", &timed(SIGNED_AT).break_timestamps(), "Failed to verify timestamp signature");

    // Its certificate is in the token, and has the same names and number.
    let theirs = untimed().timestamped_by(&OTHER_SIGSTORE.timestamps, SIGNED_AT);
    refused("by another authority", &theirs, "Failed to verify timestamp signature");
    let both = SIGSTORE.trusted_root().and(OTHER_SIGSTORE.trusted_root());
    assert_accepted("both trusted", verify(&both, &theirs));
    refused("one known, one unknown", &theirs.timestamped_by(&SIGSTORE.timestamps, SIGNED_AT), "Failed to verify");
    let root = SIGSTORE.trusted_root().without_timestamp_authorities();
    assert_refused("no authority", verify(&root, &timed(SIGNED_AT)), "no timestamp authorities");
}

#[test]
fn timestamp_authorities_count_while_they_are_valid() {
    let root = |window| SIGSTORE.trusted_root().timestamp_authority_valid(window);
    let signed = timed(SIGNED_AT);
    assert_refused("ended", verify(&root(Window::until(SIGNED_AT - SECOND)), &signed), "validity");
    assert_refused("not begun", verify(&root(Window::since(SIGNED_AT + SECOND)), &signed), "validity");
    assert_accepted("ends now", verify(&root(Window::until(SIGNED_AT)), &signed));

    // Ours has ended, another still counts: it does not lend its window.
    let mut both = root(Window::until(SIGNED_AT - SECOND)).and(OTHER_SIGSTORE.trusted_root());
    assert_refused("another is valid", verify(&both, &signed), "validity");
    both.timestamp_authorities[0].valid_for = Window::ALWAYS;
    assert_accepted("both valid", verify(&both, &signed));
}
