//! What must not compile: every way around the proofs that somebody might try. `compile_fail/*.rs` are the
//! attempts, the `.stderr` beside each is what the compiler says today.
//!
//! After a change of wording: `TRYBUILD=overwrite cargo test --test compile_fail`, and read the difference.

use std::fs;
use std::path::Path;

#[test]
fn ways_around_the_proofs_do_not_compile() {
    let attempts = trybuild::TestCases::new();
    let mut unwatched = Vec::new();
    for entry in fs::read_dir("tests/compile_fail").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let about_http = fs::read_to_string(&path).unwrap().contains("assay::http");
        if about_http && !Path::new("src/http").exists() {
            println!("{} waits for src/http", path.display());
            continue;
        }
        if !path.with_extension("stderr").exists() {
            unwatched.push(path.display().to_string());
        }
        attempts.compile_fail(path);
    }
    // trybuild only warns about these, and they would pass for any error whatever.
    let writing = std::env::var_os("TRYBUILD").is_some();
    assert!(writing || unwatched.is_empty(), "no .stderr beside {unwatched:?}");
}
