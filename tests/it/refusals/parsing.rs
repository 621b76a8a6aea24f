//! Manifests that read in two ways, or that name what is no digest or no size.

use assay::oci::Manifest;
use assay::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};

use super::case::IMAGE;

/// One thing wrong with a manifest's text.
pub struct Text {
    pub number: u8,
    pub name: &'static str,
    pub change: fn(&str) -> String,
    /// What the error names.
    pub says: &'static str,
}

const fn text(number: u8, name: &'static str, change: fn(&str) -> String, says: &'static str) -> Text {
    Text { number, name, change, says }
}

fn with(text: &str, members: &str) -> String {
    text.replacen('{', &format!("{{{members},"), 1)
}

/// Changes the first entry of an index, or an image's config.
fn first(text: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut json: Value = serde_json::from_str(text).unwrap();
    change(if json["manifests"].is_array() { &mut json["manifests"][0] } else { &mut json["config"] });
    json.to_string()
}

fn digest(text: &str, digest: &str) -> String {
    first(text, |entry| entry["digest"] = json!(digest))
}

const HEX: &str = "87703ef75c80503db8fbb20518d20f9b649aef862a51126d60228890c90a3b08";

/// The same over an index and over an image.
pub const TEXTS: &[Text] = &[
    text(
        22,
        "an index and an image",
        |t| {
            let both = if t.contains("\"manifests\"") { "\"layers\":[]" } else { "\"manifests\":[]" };
            with(t, both)
        },
        "ambiguous",
    ),
    text(22, "a member twice", |t| with(t, "\"schemaVersion\":2"), "schemaVersion"),
    text(22, "a member in another spelling beside it", |t| with(t, "\"SchemaVersion\":2"), "chemaVersion"),
    text(22, "a member that nobody reads twice", |t| with(t, "\"x\":1,\"x\":2"), "`x`"),
    text(
        22,
        "a type that is not its own",
        |t| {
            let mut json: Value = serde_json::from_str(t).unwrap();
            let other = if json["manifests"].is_array() { OCI_MANIFEST } else { OCI_INDEX };
            json["mediaType"] = json!(other);
            json.to_string()
        },
        "manifest",
    ),
    text(22, "a byte-order mark", |t| format!("\u{feff}{t}"), "JSON"),
    text(22, "something behind it", |t| format!("{t}{{}}"), "JSON"),
    text(22, "cut short", |t| t[..t.len() - 1].to_owned(), "JSON"),
    text(23, "a path for a digest", |t| digest(t, "sha256:../../../../etc/passwd"), "digest"),
    text(23, "a path behind a digest", |t| digest(t, &format!("sha256:{HEX}/../x")), "digest"),
    text(23, "a digest in capitals", |t| digest(t, &format!("sha256:{}", HEX.to_uppercase())), "digest"),
    text(23, "a digest that is too short", |t| digest(t, &format!("sha256:{}", &HEX[1..])), "digest"),
    text(23, "a digest that is too long", |t| digest(t, &format!("sha256:{HEX}0")), "digest"),
    text(23, "a digest of another algorithm", |t| digest(t, &format!("sha512:{HEX}{HEX}")), "digest"),
    text(23, "a digest without its algorithm", |t| digest(t, HEX), "digest"),
    text(23, "an empty digest", |t| digest(t, ""), "digest"),
    text(23, "a digest that is null", |t| first(t, |entry| entry["digest"] = Value::Null), "null"),
    text(23, "a negative size", |t| first(t, |entry| entry["size"] = json!(-1)), "-1"),
    text(23, "a size with a fraction", |t| first(t, |entry| entry["size"] = json!(1.5)), "1.5"),
    text(23, "a size as text", |t| first(t, |entry| entry["size"] = json!("7")), "string"),
    text(
        23,
        "a size beyond all numbers",
        |t| {
            let size = first(t, |entry| entry["size"] = json!("SIZE"));
            size.replace("\"SIZE\"", "1e300")
        },
        "manifest",
    ),
];

/// Both kinds of manifest.
pub const KINDS: usize = 2;

fn manifests() -> [(&'static str, String); KINDS] {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    [("index", text(&IMAGE.index.bytes)), ("image", text(&IMAGE.platforms[0].manifest.bytes))]
}

fn parsed(text: &str, sent_as: Option<&str>) -> Result<Manifest, String> {
    Manifest::parse(text.to_owned().into(), sent_as).map_err(|error| error.to_string())
}

#[test]
fn a_manifest_reads_in_one_way_or_not_at_all() {
    let mut wrong = Vec::new();
    for (kind, honest) in manifests() {
        assert!(parsed(&honest, None).is_ok());
        for Text { number, name, change, says } in TEXTS {
            match parsed(&change(&honest), None) {
                Ok(_) => wrong.push(format!("row {number}, {kind}: {name}: read")),
                Err(said) if !said.contains(says) => {
                    wrong.push(format!("row {number}, {kind}: {name}: {said}, not {says}"))
                }
                Err(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_manifest_is_what_it_is_sent_as() {
    for ((_, honest), (own, other)) in
        manifests().into_iter().zip([(OCI_INDEX, OCI_MANIFEST), (OCI_MANIFEST, OCI_INDEX)])
    {
        assert!(parsed(&honest, Some(own)).is_ok());
        assert!(parsed(&honest, Some(other)).unwrap_err().contains("ambiguous"));
    }
}
