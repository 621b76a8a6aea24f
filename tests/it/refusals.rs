//! The table of refusals: what went wrong in software of this kind, by the rows of the list of advisories, against
//! signatures of a private Sigstore in every form in which it can go wrong. Each refusal stands beside an honest sibling,
//! different in one thing, which is allowed; and each says what was found.

mod case;
mod certificate;
mod content;
mod identity;
mod keys;
mod limits;
mod log;
mod references;
mod row;
mod timestamps;
