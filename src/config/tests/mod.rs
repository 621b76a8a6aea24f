//! What an operator sees for every mistake, and what a good file becomes.

mod attestations;
mod cache;
mod env;
mod example;
mod expressions;
mod identities;
mod meaning;
mod odd;
mod policies;
mod robust;
mod roots;
mod rules;
mod shape;
mod signers;
mod upstreams;
mod warnings;

use std::fs;
use std::path::Path;

use super::{Settings, Warning};
use crate::trust::TrustRoot;

/// A folder with the files that configurations name.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (acme, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        lab.write("tls.crt", &certified.cert.pem());
        lab.write("tls.key", &certified.signing_key.serialize_pem());
        lab.write("acme.pub", &acme.public_key_pem());
        lab.write("acme-again.pub", &acme.public_key_pem());
        lab.write("acme.key", &acme.serialize_pem());
        lab.write("other.pub", &other.public_key_pem());
        lab.root_without("root.json", &[]);
        lab.root_without("no-log.json", &["tlogs"]);
        lab.root_without("no-log-no-time.json", &["tlogs", "timestampAuthorities"]);
        lab.root_without("no-authority.json", &["certificateAuthorities"]);
        lab.write("rubbish", "rubbish\n");
        lab.write("password", "hunter2\n");
        lab.write("two-lines", "hunter2\nhunter3\n");
        lab
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A trusted root without these parts.
    fn root_without(&self, name: &str, parts: &[&str]) {
        let mut root: serde_json::Value = serde_json::from_slice(TrustRoot::public_good_json()).unwrap();
        for part in parts {
            root.as_object_mut().unwrap().remove(*part).unwrap();
        }
        self.write(name, &root.to_string());
    }

    fn load(&self, text: &str) -> (Settings, Vec<Warning>) {
        Settings::from_text("proxy.toml", text, self.path()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// All messages about a bad file, the folder's name left out.
    fn problems(&self, text: &str) -> String {
        self.problems_with(text, &[])
    }

    fn problems_with(&self, text: &str, variables: &[(&str, &str)]) -> String {
        let variables: Vec<_> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let problems = Settings::from_sources("proxy.toml", text, self.path(), &variables).expect_err("must not load");
        self.without_folder(&problems.render(false))
    }

    fn warnings(&self, text: &str) -> String {
        let (_, warnings) = self.load(text);
        let all: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        self.without_folder(&all.join("\n\n"))
    }

    fn without_folder(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.path().display()), "")
    }
}

/// Loads, and does nothing wrong.
const GOOD: &str = r#"
version = 1
[upstream."ghcr.io"]
url = "https://ghcr.io"
[[policy]]
name = "acme"
images = ["ghcr.io/**"]
[[policy.signer]]
key = "acme.pub"
"#;

#[test]
fn a_good_file_says_nothing() {
    assert_eq!(Lab::new().warnings(GOOD), "");
}
