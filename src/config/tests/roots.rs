//! Trusted roots: which a policy uses, and those that could verify nothing.

use insta::assert_snapshot;

use super::Lab;
use super::policies::{UPSTREAMS, problems};

const IDENTITY: &str = r#"[[policy.signer]]
issuer = "https://accounts.google.com"
identity = "ada@acme.example"
"#;
const KEY: &str = "[[policy.signer]]\nkey = \"acme.pub\"\n";

fn policy(keys: &str, signers: &str) -> String {
    format!("[[policy]]\nname = \"a\"\nimages = [\"ghcr.io/**\", \"docker.io/**\"]\n{keys}\n{signers}")
}

/// The names of the roots that the only policy uses, and the warnings.
fn used(text: &str) -> (Vec<String>, String) {
    let (lab, text) = (Lab::new(), format!("{UPSTREAMS}{text}"));
    let (settings, _) = lab.load(&text);
    let names = settings.policy.rules()[0].demand().unwrap().roots.iter().map(|root| root.name().to_owned()).collect();
    (names, lab.warnings(&text))
}

#[test]
fn a_policy_uses_the_roots_it_names_or_the_default() {
    let named = "[trust.roots]\nprivate = \"root.json\"\nsame = \"root.json\"\n";
    for (root, keys, expected) in [
        ("", "", "public-good"),
        ("root = \"public-good\"", "", "public-good"),
        ("root = \"no-log.json\"", "tlog = \"off\"", "no-log.json"),
        ("root = \"private\"", "", "private"),
        ("root = \"private\"", "trust_root = \"public-good\"", "public-good"),
        ("", "trust_root = \"private\"", "private"),
        ("", "trust_root = [\"private\"]", "private"),
        // One file is one root, called by the first of its names.
        ("", "trust_root = \"same\"", "private"),
        ("root = \"root.json\"", "", "private"),
    ] {
        let text = format!("[trust]\n{root}\n{named}{}", policy(keys, IDENTITY));
        assert_eq!(used(&text), (vec![expected.to_owned()], String::new()), "{root} {keys}");
    }
}

#[test]
fn a_root_that_no_policy_uses_is_read_too() {
    let text = format!("[trust]\nroot = \"rubbish\"\n{}", policy("trust_root = \"public-good\"", IDENTITY));
    assert!(problems(&text).contains("trust.root: rubbish: not a Sigstore trusted root"));
}

#[test]
fn bare_keys_need_no_root() {
    let (roots, warnings) = used(&policy("tlog = \"off\"\ntrust_root = \"public-good\"", KEY));
    assert_eq!(roots, Vec::<String>::new());
    assert_snapshot!(warnings, @r#"
    warning: policy[0].tlog: nothing proves when a key signed, nor that the signature was published
     --> proxy.toml:9:8
      |
    9 | tlog = "off"
      |        ^^^^^
      |
      = help: sign with the transparency log, and take the line out

    warning: policy[0].trust_root: nobody here signs with a certificate or must be in a log, so no trusted root is used
      --> proxy.toml:10:14
       |
    10 | trust_root = "public-good"
       |              ^^^^^^^^^^^^^
       |
       = help: take it out
    "#);
    let (roots, warnings) = used(&policy("tlog = \"optional\"", KEY));
    assert_eq!((roots.len(), warnings.as_str()), (1, ""));
}

#[test]
fn files_that_are_no_roots_and_names_that_are_none() {
    let text = r#"
[trust]
root = "absent.json"
[trust.roots]
public-good = "root.json"
rubbish = "rubbish"
empty = "empty.json"
[[policy]]
name = "a"
images = ["ghcr.io/a/**"]
trust_root = ["privat", "keys/root.json", "rubbish"]
[[policy.signer]]
key = "acme.pub"
[[policy]]
name = "b"
images = ["ghcr.io/b/**"]
trust_root = []
[[policy.signer]]
key = "acme.pub"
[[policy]]
name = "c"
images = ["ghcr.io/c/**"]
trust_root = 1
[[policy.signer]]
key = "acme.pub"
"#;
    let lab = Lab::new();
    lab.root_without("empty.json", &["tlogs", "certificateAuthorities"]);
    assert_snapshot!(lab.problems(&format!("{UPSTREAMS}{text}")), @r#"
    error: trust.root: cannot read the file: No such file or directory (os error 2)
     --> proxy.toml:8:8
      |
    8 | root = "absent.json"
      |        ^^^^^^^^^^^^^ looked for absent.json
      |
      = help: relative paths start at the folder of the configuration file

    error: trust.roots.public-good: cannot be the name of a trusted root of yours
      --> proxy.toml:10:1
       |
    10 | public-good = "root.json"
       | ^^^^^^^^^^^
       |
       = help: `public-good` is the root that ships with assay; choose another name

    error: trust.roots.rubbish: rubbish: not a Sigstore trusted root: expected value at line 1 column 1
      --> proxy.toml:11:11
       |
    11 | rubbish = "rubbish"
       |           ^^^^^^^^^
       |
       = help: `cosign trusted-root create` writes such a file; an instance of Sigstore publishes its own over TUF

    error: trust.roots.empty: empty.json: it names no certificate authority and no transparency log
      --> proxy.toml:12:9
       |
    12 | empty = "empty.json"
       |         ^^^^^^^^^^^^
       |
       = help: a trusted root names the authorities and logs of a Sigstore instance; a signing config is another file

    error: policy[0].trust_root[0]: no such trusted root
      --> proxy.toml:16:15
       |
    16 | trust_root = ["privat", "keys/root.json", "rubbish"]
       |               ^^^^^^^^
       |
       = help: known are empty, rubbish, public-good; name further files in [trust.roots]

    error: policy[0].trust_root[1]: no such trusted root
      --> proxy.toml:16:25
       |
    16 | trust_root = ["privat", "keys/root.json", "rubbish"]
       |                         ^^^^^^^^^^^^^^^^
       |
       = help: give the file a name, and write that here: [trust.roots] NAME = "keys/root.json"

    error: policy[1].trust_root: empty: nothing could be verified
      --> proxy.toml:22:14
       |
    22 | trust_root = []
       |              ^^
       |
       = help: name a trusted root, or take it out

    error: policy[2].trust_root: invalid type: integer `1`, expected a name or a list of names
      --> proxy.toml:28:14
       |
    28 | trust_root = 1
       |              ^
    "#);
}

#[test]
fn roots_that_lack_what_the_signers_need() {
    let roots =
        "[trust.roots]\nno-log = \"no-log.json\"\nno-time = \"no-log-no-time.json\"\nno-ca = \"no-authority.json\"\n";
    let of = |keys: &str, signers: &str| problems(&format!("{roots}{}", policy(keys, signers)));
    assert_snapshot!(of("trust_root = \"no-ca\"", IDENTITY), @r#"
    error: policy[0].trust_root: identities sign here, and `no-ca` names no certificate authority
      --> proxy.toml:13:14
       |
    13 | trust_root = "no-ca"
       |              ^^^^^^^
       |
       = help: name the trusted root of the Sigstore instance whose certificates they sign with
    "#);
    assert_snapshot!(of("trust_root = \"no-log\"", IDENTITY), @r#"
    error: policy[0].trust_root: signatures must be in a transparency log, and `no-log` names none
      --> proxy.toml:13:14
       |
    13 | trust_root = "no-log"
       |              ^^^^^^^^
       |
       = help: its timestamp authority proves the time instead if you write tlog = "off"
    "#);
    assert_snapshot!(of("trust_root = \"no-log\"", KEY), @r#"
    error: policy[0].trust_root: signatures must be in a transparency log, and `no-log` names none
      --> proxy.toml:13:14
       |
    13 | trust_root = "no-log"
       |              ^^^^^^^^
       |
       = help: name a trusted root with a transparency log, or write tlog = "off"
    "#);
    assert_snapshot!(of("trust_root = \"no-log\"\ntlog = \"optional\"", KEY), @r#"
    error: policy[0].trust_root: signatures must be in a transparency log, and `no-log` names none
      --> proxy.toml:13:14
       |
    13 | trust_root = "no-log"
       |              ^^^^^^^^
       |
       = help: name a trusted root with a transparency log, or write tlog = "off"
    "#);
    assert_snapshot!(of("tlog = \"off\"", IDENTITY), @r#"
    error: policy[0].tlog: identities sign here, and `public-good` names a transparency log
      --> proxy.toml:13:8
       |
    13 | tlog = "off"
       |        ^^^^^
       |
       = help: a certificate lives for minutes: only the log proves when it was used; take the line out
    "#);
    assert_snapshot!(of("trust_root = [\"no-log\", \"public-good\"]\ntlog = \"off\"", IDENTITY), @r#"
    error: policy[0].tlog: identities sign here, and `public-good` names a transparency log
      --> proxy.toml:14:8
       |
    14 | tlog = "off"
       |        ^^^^^
       |
       = help: a certificate lives for minutes: only the log proves when it was used; take the line out
    "#);
    assert_snapshot!(of("trust_root = \"no-time\"\ntlog = \"off\"", IDENTITY), @r#"
    error: policy[0].tlog: nothing would prove when an identity signed: `no-time` names no timestamp authority
      --> proxy.toml:14:8
       |
    14 | tlog = "off"
       |        ^^^^^
       |
       = help: name a trusted root with a timestamp authority or a transparency log
    "#);
}

#[test]
fn roots_that_hold_it() {
    let roots = "[trust.roots]\nno-log = \"no-log.json\"\nno-ca = \"no-authority.json\"\n";
    let of = |keys: &str, signers: &str| used(&format!("{roots}{}", policy(keys, signers)));
    assert_eq!(of("trust_root = \"no-ca\"", KEY), (vec!["no-ca".to_owned()], String::new()));
    assert_eq!(of("trust_root = \"no-log\"\ntlog = \"off\"", IDENTITY), (vec!["no-log".to_owned()], String::new()));
    let (both, warnings) = of("trust_root = [\"public-good\", \"no-log\", \"public-good\"]", IDENTITY);
    assert_eq!(both, ["public-good", "no-log"]);
    assert_snapshot!(warnings, @r#"
    warning: policy[0].trust_root: nothing this policy accepts can be verified with `no-log`
      --> proxy.toml:12:14
       |
    12 | trust_root = ["public-good", "no-log", "public-good"]
       |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: it lacks a transparency log or a certificate authority; take it out of this policy

    warning: policy[0].trust_root[2]: the same trusted root twice
      --> proxy.toml:12:40
       |
    12 | trust_root = ["public-good", "no-log", "public-good"]
       |                                        ^^^^^^^^^^^^^
       |
       = help: take one of them out
    "#);
}

#[test]
fn files_that_settings_rest_on_are_listed_once() {
    let lab = Lab::new();
    let roots = "[trust]\nroot = \"root.json\"\n[trust.roots]\nprivate = \"no-log.json\"\nsame = \"root.json\"\n";
    let text = format!("{UPSTREAMS}{roots}{}{KEY}", policy("", KEY.replace("acme", "other").as_str()));
    lab.write("proxy.toml", &text);
    let (settings, _) = crate::config::Settings::load(&lab.path().join("proxy.toml")).unwrap();
    let expected = ["proxy.toml", "no-log.json", "root.json", "other.pub", "acme.pub"];
    assert_eq!(settings.files, expected.map(|name| lab.path().join(name)));
    let (settings, _) = lab.load(&text);
    assert_eq!(settings.files.len(), 4, "a text has no file of its own");
}
