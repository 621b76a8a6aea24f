//! Log entries that nothing proves: no promise, no proof, no checkpoint, or those of another log or another time.

use assay::trust::Reason::{MalformedSignature, NotInLog};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::case::{By, Case, Form, SECOND, other};
use super::row::{ALL, BUNDLES, BUNDLES_V1, CLASSIC, PROMISED, REKOR_V2, Row, row, run};
use crate::support::sigstore::{EntryKind, InclusionProof, OTHER_SIGSTORE, SIGNED_AT, SIGSTORE, Signed, Window};

/// No entry, or one that nothing vouches for.
const UNPROVEN: &[Row] = &[
    row(
        16,
        "no log entry",
        ALL,
        |c| c.edit = |signed, _| signed.without_log_entry(),
        NotInLog,
        "no transparency log entry",
    ),
    row(
        16,
        "neither promise nor proof",
        BUNDLES,
        |c| c.edit = |signed, _| signed.without_promise().without_proof(),
        MalformedSignature,
        "a log entry has no inclusion proof",
    )
    .but(
        &[(Form::Bundle01, By::Keyless), (Form::Bundle01, By::Key)],
        NotInLog,
        "neither an inclusion proof nor a signed entry timestamp",
    ),
    row(
        16,
        "a broken promise",
        PROMISED,
        |c| c.edit = |signed, _| signed.break_promise(),
        NotInLog,
        "SET verification failed",
    ),
    row(
        16,
        "an empty promise",
        CLASSIC,
        |c| c.edit = |signed, _| signed.edit_entry(|entry| entry.promise = Some(vec![])),
        NotInLog,
        "log: ",
    ),
    row(16, "a broken proof", BUNDLES, |c| c.edit = |signed, _| signed.break_proof(), NotInLog, "root hash mismatch"),
    row(
        16,
        "another index than the log promised",
        ALL,
        |c| c.edit = |signed, _| signed.edit_entry(|entry| entry.log_index -= 1),
        NotInLog,
        "SET verification failed",
    )
    .but(REKOR_V2, NotInLog, "log: "),
    row(
        16,
        "another place in the tree than the log proved",
        BUNDLES_V1,
        |c| {
            c.edit = |signed, _| {
                let elsewhere = |proof: &mut InclusionProof| proof.log_index -= 1;
                signed.edit_entry(move |entry| elsewhere(entry.proof.as_mut().unwrap()))
            };
        },
        NotInLog,
        "log: ",
    ),
    row(
        16,
        "a checkpoint over another tree",
        BUNDLES,
        |c| {
            c.edit = |signed, case| {
                let other = case.about(other()).signed().entries[0].proof.clone().unwrap();
                signed.edit_entry(move |entry| entry.proof.as_mut().unwrap().checkpoint.clone_from(&other.checkpoint))
            };
        },
        MalformedSignature,
        "root hash does not match checkpoint root hash",
    )
    .but(REKOR_V2, NotInLog, "log: "),
    row(
        16,
        "a checkpoint by a log of the same name that nobody knows",
        BUNDLES,
        |c| {
            c.edit = |signed, case| match case.form {
                Form::RekorV2 => signed.checkpoint_by(&OTHER_SIGSTORE.rekor_v2),
                _ => signed.checkpoint_by(&OTHER_SIGSTORE.rekor_v1),
            };
        },
        NotInLog,
        "No matching Rekor key",
    ),
    row(
        16,
        "a checkpoint by another trusted log",
        BUNDLES,
        |c| {
            c.edit = |signed, case| match case.form {
                Form::RekorV2 => signed.checkpoint_by(&SIGSTORE.rekor_v1),
                _ => signed.checkpoint_by(&SIGSTORE.rekor_v2),
            };
        },
        NotInLog,
        "log: ",
    ),
    row(
        16,
        "a checkpoint whose signature says to be by another log",
        BUNDLES,
        |c| {
            c.edit = |signed, _| {
                signed.edit_entry(|entry| {
                    let checkpoint = &mut entry.proof.as_mut().unwrap().checkpoint;
                    *checkpoint = checkpoint.replacen("\u{2014} ", "\u{2014} not.", 1);
                })
            };
        },
        MalformedSignature,
        "the checkpoint has no signature by the log that it is about",
    ),
    row(
        16,
        "a checkpoint by another trusted log, with a line that says to be by this one",
        REKOR_V2,
        |c| c.edit = |signed, case| with_line_of_its_log(signed.checkpoint_by(&OTHER_SIGSTORE.rekor_v2), case),
        NotInLog,
        "the checkpoint is not signed by the log that the entry names",
    )
    .given(|c| c.root(|root| root.and(OTHER_SIGSTORE.trusted_root())))
    .beside(|c| c.edit = with_line_of_its_log),
    row(
        16,
        "logged by a log of the same name that nobody knows",
        ALL,
        |c| {
            c.edit = |signed, case| {
                let theirs = Case { sigstore: &OTHER_SIGSTORE, ..case.clone() };
                let (log, kind) = match theirs.form {
                    Form::RekorV2 => (&OTHER_SIGSTORE.rekor_v2, EntryKind::HashedRekord002),
                    Form::Classic => (&OTHER_SIGSTORE.rekor_v1, EntryKind::HashedRekord001),
                    _ => (&OTHER_SIGSTORE.rekor_v1, EntryKind::Dsse001),
                };
                signed.without_log_entry().logged_as(kind, &log.restarted(), SIGNED_AT)
            };
        },
        NotInLog,
        "log: ",
    ),
    row(
        16,
        "the id of a log that nobody knows",
        ALL,
        |c| c.edit = |signed, _| signed.edit_entry(|entry| entry.log_id = vec![7; 32]),
        NotInLog,
        "log: ",
    ),
    row(
        16,
        "the id of another trusted log",
        ALL,
        |c| {
            c.edit = |signed, case| {
                let id = match case.form {
                    Form::RekorV2 => SIGSTORE.rekor_v1.id(),
                    _ => SIGSTORE.rekor_v2.id(),
                };
                signed.edit_entry(move |entry| entry.log_id = id.to_vec())
            };
        },
        NotInLog,
        "log: ",
    ),
    row(
        16,
        "the id of a log that nobody knows, and its promise",
        PROMISED,
        |c| {
            c.edit = |signed, _| {
                let id = OTHER_SIGSTORE.rekor_v1.id();
                signed.edit_entry(move |entry| entry.log_id = id.to_vec()).promised_again_by(&OTHER_SIGSTORE.rekor_v1)
            };
        },
        NotInLog,
        "log",
    ),
    row(
        16,
        "the trusted root knows no log",
        ALL,
        |c| c.root(|root| root.without_transparency_logs()),
        NotInLog,
        "log: ",
    ),
    row(
        16,
        "a log that had ended",
        ALL,
        |c| c.root(|root| root.transparency_logs_valid(Window::until(SIGNED_AT - SECOND))),
        NotInLog,
        "log: ",
    )
    .beside(|c| c.root(|root| root.transparency_logs_valid(Window::until(SIGNED_AT)))),
    row(
        16,
        "a log that had not begun",
        ALL,
        |c| c.root(|root| root.transparency_logs_valid(Window::since(SIGNED_AT + SECOND))),
        NotInLog,
        "log: ",
    )
    .beside(|c| c.root(|root| root.transparency_logs_valid(Window::since(SIGNED_AT)))),
    row(
        16,
        "a log that had ended, with a proof and a timestamp",
        &[(Form::Stamped, By::Key)],
        |c| c.root(|root| root.transparency_logs_valid(Window::until(SIGNED_AT - SECOND))),
        NotInLog,
        "log: ",
    )
    .given(|c| c.edit = |signed, _| signed.without_promise())
    .beside(|c| c.root(|root| root.transparency_logs_valid(Window::until(SIGNED_AT)))),
];

/// One line more below the checkpoint, with the hint of the log's key and no signature by it.
fn with_line_of_its_log(signed: Signed, _: &Case) -> Signed {
    signed.edit_entry(|entry| {
        let line = STANDARD.encode([&entry.log_id[..4], &[0; 64]].concat());
        let checkpoint = &mut entry.proof.as_mut().unwrap().checkpoint;
        let name = checkpoint.lines().next().unwrap().to_owned();
        checkpoint.push_str(&format!("\u{2014} {name} {line}\n"));
    })
}

pub fn rows() -> Vec<Row> {
    UNPROVEN.to_vec()
}

#[test]
fn an_entry_that_nothing_proves_is_no_entry() {
    run(UNPROVEN);
}
