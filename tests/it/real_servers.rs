//! `assay verify oci:…` on what the real Fulcio, Rekor and cosign 3 made, with the arguments that cosign was given. Read
//! from `../shared/fixtures` where that is there; not part of this project.

use super::cli::assay;
use super::fixtures::{folder, json};

/// Where we answer otherwise than cosign 3.1.3: the exit code, a word of ours, and why.
const DIFFERENCES: [(&str, i32, &str, &str); 3] = [
    ("v2-attest-only", 3, "NOT_A_SIGNATURE", "an attestation is no signature; cosign takes it for one"),
    ("forged-v2-log-body", 3, "NOT_IN_LOG", "the log entry's body is another; cosign makes its own from the bundle"),
    ("mixed-classic-good", 0, "verified", "the classic signature is good; cosign does not look at it beside a bundle"),
];

#[tokio::test]
async fn every_check_of_the_real_servers_through_the_program() {
    let Some(top) = folder("real-servers", 44) else { return };
    let (mut wrong, mut same, mut different) = (Vec::new(), 0, Vec::new());
    for set in json(&top.join("list.json")).as_array().unwrap() {
        let set = top.join(set.as_str().unwrap());
        for check in json(&set.join("meta.json"))["checks"].as_array().unwrap() {
            let text = |key: &str| check[key].as_str();
            let name = text("name").unwrap();
            let line = line(&top, &format!("oci:{}@{}", set.join("layout").display(), text("digest").unwrap()), &text);
            let (code, out, err) = assay(&line.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let cosign = if text("expect") == Some("pass") { 0 } else { 3 };
            match DIFFERENCES.iter().find(|(known, ..)| *known == name) {
                Some((_, ours, word, why)) if code == *ours && out.contains(word) && code != cosign => {
                    different.push(format!("{name}: {why}"));
                }
                None if code == cosign => same += 1,
                _ => wrong.push(format!("{name}: exit {code}, cosign: {}\n{out}{err}", check["expect"])),
            }
        }
    }
    println!("{same} as cosign, {} otherwise on purpose:\n{}", different.len(), different.join("\n"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((same + different.len(), different.len()), (63, DIFFERENCES.len()));
}

/// cosign's arguments as ours.
fn line<'a>(top: &std::path::Path, image: &str, text: &impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let file = |name: &str| top.join(name).display().to_string();
    // cosign looks at what it is asked for alone, and never for an index that names it.
    let mut line = ["verify", image, "--no-find-parent"].map(str::to_owned).to_vec();
    let mut add = |flag: &str, value: String| line.extend([flag.to_owned(), value]);
    add("--trust-root", file(text("trustedRoot").unwrap_or("trusted_root.json")));
    for (key, flag) in [("issuer", "--issuer"), ("identity", "--identity")] {
        if let Some(value) = text(key) {
            add(flag, value.to_owned());
        }
    }
    if let Some(key) = text("key") {
        add("--key", file(key));
    }
    if text("command") == Some("verify-attestation") {
        add("--attestation", text("type").unwrap().to_owned());
    }
    let mut flags = text("flags").unwrap_or_default().split_whitespace();
    while let Some(flag) = flags.next() {
        match flag.split_once('=') {
            Some(("--insecure-ignore-tlog", "true")) => add("--tlog", "off".to_owned()),
            Some((claim, value)) => {
                let claim = claim.strip_prefix("--certificate-").unwrap().replace('-', "_");
                add("--claim", format!("{claim}={value}"));
            }
            None if flag == "-a" => add("-a", flags.next().unwrap().to_owned()),
            None => panic!("what is {flag}?"),
        }
    }
    line
}
