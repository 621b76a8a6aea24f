//! Whatever is in the file, it is answered with settings or with messages.

use std::path::Path;

use proptest::prelude::*;

use crate::config::Settings;

fn load(text: &str, variables: &[(String, String)]) {
    match Settings::from_sources("proxy.toml", text, Path::new("/nonexistent"), variables) {
        Ok((_, warnings)) => warnings.iter().for_each(|warning| drop(warning.render(true))),
        Err(problems) => {
            assert!(problems.count() > 0);
            drop((problems.render(true), problems.render(false)));
        }
    }
}

#[test]
fn a_file_without_end_is_refused_by_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let problems = Settings::load_again(&path).unwrap_err().render(false);
    assert!(problems.contains("larger than"), "{problems}");
}

const KEYS: [&str; 24] = [
    "version",
    "server",
    "listen",
    "upstream",
    "\"docker.io\"",
    "url",
    "policy",
    "signer",
    "key",
    "images",
    "mode",
    "log",
    "credentials",
    "not_after",
    "trust",
    "roots",
    "identity_regexp",
    "issuer",
    "deny",
    "attestation",
    "find_parent",
    "claims",
    "é",
    "\"\\u0000\"",
];
const VALUES: [&str; 20] = [
    "1",
    "-1",
    "1e9",
    "true",
    "\"\"",
    "\"docker.io/**\"",
    "\"é\\n\"",
    "[]",
    "[\"a\"]",
    "[1, [2]]",
    "{}",
    "{ url = 1 }",
    "[{ url = 1 }]",
    "2026-01-01",
    "99999999999999999999999999999999999999999",
    "'x",
    "\"\"\"a\nb\"\"\"",
    "\"/dev/zero\"",
    "'https://github.com/.*'",
    "[\"public-good\"]",
];

fn lines() -> impl Strategy<Value = String> {
    let path = || prop::collection::vec(prop::sample::select(KEYS.to_vec()), 1..4).prop_map(|keys| keys.join("."));
    let value = prop::sample::select(VALUES.to_vec());
    let line = prop_oneof![
        path().prop_map(|path| format!("[{path}]\n")),
        path().prop_map(|path| format!("[[{path}]]\n")),
        (path(), value).prop_map(|(path, value)| format!("{path} = {value}\n")),
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn random_text_never_panics(text in "\\PC{0,200}") {
        load(&text, &[]);
    }

    #[test]
    fn random_bytes_of_toml_never_panic(text in "[a-z\\[\\]\\{\\}=\"'.,# \n\r\té0-9-]{0,200}") {
        load(&text, &[]);
    }

    #[test]
    fn random_tables_never_panic(
        text in lines(),
        one in prop::bool::ANY,
        name in "ASSAY_[A-Z_]{0,20}__[A-Z_é]{0,20}",
        value in "\\PC{0,20}",
    ) {
        let text = if one { format!("version = 1\n{text}") } else { text };
        load(&text, &[(name, value)]);
    }
}
