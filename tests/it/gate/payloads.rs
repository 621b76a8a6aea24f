//! Validly signed bytes that two readers could read differently, or that cannot be read at all
//! (CVE-2026-39395: what could not be parsed counted as verified).

use assay::demo::{SIGNATURE_ANNOTATION, Statement};
use assay::trust::{BUNDLE_MAX, Material, PAYLOAD_MAX, Reason, SUBJECTS_MAX};
use serde_json::{Value, json};

use super::world::{ALLOWED, Bundle, Classic, Scene, WORLD, assert_none, candidate, edited, refused};

type Edit = fn(&[u8]) -> Vec<u8>;

fn sign_classic(edit: Edit) -> Scene {
    let mut material = Classic::honest();
    material.payload = edit(&material.payload);
    Scene::with([material.candidate()])
}

fn sign_bundle(edit: Edit) -> Scene {
    let mut material = Bundle::honest();
    material.payload = edit(&material.payload);
    Scene::with([material.candidate()])
}

/// Whatever the layout.
const UNREADABLE: &[(&str, Edit)] = &[
    ("no JSON", |_| b"signed!".to_vec()),
    ("empty", |_| Vec::new()),
    ("white space", |_| b" \n".to_vec()),
    ("null", |_| b"null".to_vec()),
    ("a list of it", |text| [b"[", text, b"]"].concat()),
    ("it as a text", |text| serde_json::to_vec(&String::from_utf8_lossy(text)).unwrap()),
    ("an empty object", |_| b"{}".to_vec()),
    ("cut short", |text| text[..text.len() - 1].to_vec()),
    ("cut in half", |text| text[..text.len() / 2].to_vec()),
    ("a byte-order mark", |text| [b"\xef\xbb\xbf", text].concat()),
    ("UTF-16", |text| text.iter().flat_map(|byte| [*byte, 0]).collect()),
    ("something behind it", |text| [text, b"{}"].concat()),
    ("a zero byte behind it", |text| [text, b"\0"].concat()),
    ("a comma too many", |text| edited(text, "}", ",}")),
    ("no UTF-8 in a text", |text| [b"{\"x\":\"\xff\",", &text[1..]].concat()),
    ("half a surrogate pair", |text| [br#"{"x":"\ud800","#, &text[1..]].concat()),
    ("nested too deep", |text| [b"{\"x\":", &b"[".repeat(40)[..], &b"]".repeat(40), b",", &text[1..]].concat()),
    ("a key twice", |text| [b"{\"x\":1,\"x\":2,", &text[1..]].concat()),
    ("NaN", |text| [b"{\"x\":NaN,", &text[1..]].concat()),
];

#[test]
fn what_cannot_be_read_is_no_signature() {
    let mut wrong = Vec::new();
    for (name, edit) in UNREADABLE {
        for (layout, scene) in [("classic", sign_classic(*edit)), ("bundle", sign_bundle(*edit))] {
            let outcome = scene.outcome();
            if outcome != refused(Reason::MalformedSignature) {
                wrong.push(format!("row 7, {layout}: {name}: {outcome}"));
            }
        }
    }
    assert_none(&wrong);
}

const CLASSIC: &[(&str, Edit)] = &[
    ("critical twice", |t| edited(t, "{", r#"{"critical":{},"#)),
    ("critical twice, the good one first", |t| edited(t, r#","optional":null"#, r#","critical":{}"#)),
    ("the digest twice", |t| {
        edited(t, r#""docker-manifest-digest":"#, r#""docker-manifest-digest":"x","docker-manifest-digest":"#)
    }),
    ("the digest twice, once escaped", |t| {
        edited(t, r#""docker-manifest-digest":"#, r#""docker\u002dmanifest-digest":"x","docker-manifest-digest":"#)
    }),
    ("the type twice", |t| edited(t, r#""type":"#, r#""type":"x","type":"#)),
    ("Critical", |t| edited(t, "\"critical\"", "\"Critical\"")),
    ("critical and Critical", |t| edited(t, "{", r#"{"Critical":{},"#)),
    ("the digest in another spelling beside it", |t| {
        edited(t, r#""docker-manifest-digest":"#, r#""Docker-Manifest-Digest":"x","docker-manifest-digest":"#)
    }),
    ("the type in another spelling beside it", |t| edited(t, r#""type":"#, r#""TYPE":"x","type":"#)),
    ("the reference with a long s", |t| edited(t, r#""critical":{"#, r#""critical":{"identıty":{},"#)),
    ("an unknown key in critical", |t| edited(t, r#""critical":{"#, r#""critical":{"expires":"never","#)),
    ("an unknown key in critical.identity", |t| edited(t, r#""identity":{"#, r#""identity":{"docker-digest":"x","#)),
    ("an unknown key in critical.image", |t| edited(t, r#""image":{"#, r#""image":{"platform":"x","#)),
    ("critical is null", |_| br#"{"critical":null,"optional":null}"#.to_vec()),
    ("critical is a list", |_| br#"{"critical":[],"optional":null}"#.to_vec()),
    ("critical is empty", |_| br#"{"critical":{},"optional":null}"#.to_vec()),
    ("critical below optional", |t| [br#"{"optional":"#, t, b"}"].concat()),
    ("no image", |t| {
        let mut json: Value = serde_json::from_slice(t).unwrap();
        json["critical"].as_object_mut().unwrap().remove("image").unwrap();
        json.to_string().into_bytes()
    }),
    ("no identity", |t| {
        let mut json: Value = serde_json::from_slice(t).unwrap();
        json["critical"].as_object_mut().unwrap().remove("identity").unwrap();
        json.to_string().into_bytes()
    }),
    ("no type", |t| {
        let mut json: Value = serde_json::from_slice(t).unwrap();
        json["critical"].as_object_mut().unwrap().remove("type").unwrap();
        json.to_string().into_bytes()
    }),
    ("the digest is null", |t| edited(t, &format!("\"{}\"", WORLD.subject()), "null")),
    ("the digest is a number", |t| edited(t, &format!("\"{}\"", WORLD.subject()), "7")),
    ("the digest is a list with it", |t| {
        edited(t, &format!("\"{}\"", WORLD.subject()), &format!("[\"{}\"]", WORLD.subject()))
    }),
    ("the type is null", |t| edited(t, "\"cosign container image signature\"", "null")),
    ("the reference is a number", |t| edited(t, "\"registry.test/acme/app\"", "1")),
];

const BUNDLE: &[(&str, Edit)] = &[
    ("subject is null", |t| with(t, "subject", Value::Null)),
    ("subject is an object", |t| with(t, "subject", json!({ "digest": { "sha256": WORLD.subject().hex() } }))),
    ("subject is a text", |t| with(t, "subject", json!(WORLD.subject().to_string()))),
    ("no subject key", |t| without(t, "subject")),
    ("a subject without digest", |t| with(t, "subject", json!([{ "name": "app" }]))),
    ("a subject without digest before the good one", |t| edited(t, r#""subject":["#, r#""subject":[{},"#)),
    ("a subject that is null", |t| edited(t, r#""subject":["#, r#""subject":[null,"#)),
    ("a digest that is null", |t| with(t, "subject", json!([{ "digest": null }]))),
    ("a digest that is a text", |t| with(t, "subject", json!([{ "digest": WORLD.subject().hex() }]))),
    ("a digest's value is a number", |t| with(t, "subject", json!([{ "digest": { "sha256": 7 } }]))),
    ("a digest's value is null", |t| with(t, "subject", json!([{ "digest": { "sha256": null } }]))),
    ("the subject twice", |t| edited(t, r#""subject":["#, r#""subject":[],"subject":["#)),
    ("the subject in another spelling beside it", |t| edited(t, r#""subject":["#, r#""Subject":[],"subject":["#)),
    ("the digest twice", |t| edited(t, r#"{"sha256":"#, r#"{"sha256":"x","sha256":"#)),
    ("the predicate type twice", |t| edited(t, r#""predicateType":"#, r#""predicateType":"x","predicateType":"#)),
    ("the predicate type in other case beside it", |t| {
        edited(t, r#""predicateType":"#, r#""PredicateType":"x","predicateType":"#)
    }),
    ("the predicate type in other case", |t| edited(t, r#""predicateType":"#, r#""predicatetype":"#)),
    ("the predicate type is null", |t| with(t, "predicateType", Value::Null)),
    ("no predicate type", |t| without(t, "predicateType")),
    ("the type is null", |t| with(t, "_type", Value::Null)),
    ("no type", |t| without(t, "_type")),
    ("the type twice", |t| edited(t, r#""_type":"#, r#""_type":"x","_type":"#)),
];

fn with(text: &[u8], key: &str, value: Value) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(text).unwrap();
    json[key] = value;
    json.to_string().into_bytes()
}

fn without(text: &[u8], key: &str) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(text).unwrap();
    json.as_object_mut().unwrap().remove(key).unwrap();
    json.to_string().into_bytes()
}

#[test]
fn a_payload_of_the_wrong_shape_is_no_signature() {
    let mut wrong = Vec::new();
    let classic = CLASSIC.iter().map(|(name, edit)| ("classic", name, sign_classic(*edit)));
    let bundle = BUNDLE.iter().map(|(name, edit)| ("bundle", name, sign_bundle(*edit)));
    for (layout, name, scene) in classic.chain(bundle) {
        let outcome = scene.outcome();
        if outcome != refused(Reason::MalformedSignature) {
            wrong.push(format!("row 7, {layout}: {name}: {outcome}"));
        }
    }
    assert_none(&wrong);
}

/// Room in a classic payload: white space behind the last brace belongs to the document.
fn classic_of(size: usize) -> Scene {
    let mut material = Classic::honest();
    material.payload.resize(size, b' ');
    Scene::with([material.candidate()])
}

fn bundle_of(size: usize) -> Scene {
    let mut candidate = Bundle::honest().candidate();
    let Material::Bundle(bytes) = &mut candidate.material else { panic!("a bundle") };
    let mut padded = bytes.to_vec();
    padded.resize(size, b' ');
    *bytes = padded.into();
    Scene::with([candidate])
}

/// An attestation of the classic layout, which is no signature, with room behind it.
fn envelope_of(size: usize) -> Scene {
    let statement = Statement::attestation(WORLD.subject(), "https://slsa.dev/provenance/v1", json!({}));
    let Material::Bundle(bundle) = Bundle::saying(&statement).candidate().material else { panic!("a bundle") };
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    let mut envelope = bundle["dsseEnvelope"].to_string().into_bytes();
    envelope.resize(size, b' ');
    let annotations = [(SIGNATURE_ANNOTATION.to_owned(), String::new())].into();
    Scene::with([candidate("tag .att", Material::ClassicAttestation { envelope: envelope.into(), annotations })])
}

fn subjects(count: usize) -> Scene {
    let mut material = Bundle::honest();
    let mut subjects = vec![json!({ "digest": { "sha256": WORLD.other_image.index.digest.hex() } }); count];
    if let Some(last) = subjects.last_mut() {
        *last = json!({ "digest": { "sha256": WORLD.subject().hex() } });
    }
    material.payload = with(&material.payload, "subject", subjects.into());
    Scene::with([material.candidate()])
}

#[test]
fn what_is_read_is_bounded() {
    for (scene, outcome) in [
        (classic_of(PAYLOAD_MAX), ALLOWED.to_owned()),
        (classic_of(PAYLOAD_MAX + 1), refused(Reason::OverLimit)),
        (bundle_of(BUNDLE_MAX), ALLOWED.to_owned()),
        (bundle_of(BUNDLE_MAX + 1), refused(Reason::OverLimit)),
        (envelope_of(BUNDLE_MAX), refused(Reason::NotASignature)),
        (envelope_of(BUNDLE_MAX + 1), refused(Reason::OverLimit)),
        (envelope_of(BUNDLE_MAX + 2), refused(Reason::OverLimit)),
        (subjects(0), refused(Reason::WrongSubject)),
        (subjects(1), ALLOWED.to_owned()),
        (subjects(SUBJECTS_MAX), ALLOWED.to_owned()),
        (subjects(SUBJECTS_MAX + 1), refused(Reason::OverLimit)),
    ] {
        assert_eq!(scene.outcome(), outcome);
    }
}
