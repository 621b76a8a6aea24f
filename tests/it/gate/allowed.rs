//! Honest material that looks unusual. Refusing it would be safe, and wrong.

use assay::demo::{SIGNATURE_ANNOTATION, Signer};
use assay::trust::Material;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::world::{ALLOWED, Bundle, Classic, Scene, WORLD, assert_none, candidate, edited};

type Change<T> = fn(&mut T);

const CLASSIC: &[(&str, Change<Classic>)] = &[
    ("as it is", |_| {}),
    ("base64 over several lines", |c| c.signature = Some(wrapped(&c.signer.sign(&c.payload), "\n"))),
    ("base64 over several lines, CR LF", |c| c.signature = Some(wrapped(&c.signer.sign(&c.payload), "\r\n"))),
    ("annotations that the signer added", |c| {
        c.payload = edited(
            &c.payload,
            "\"optional\":null",
            r#""optional":{"build":"42","Size":1,"size":2,"nested":{"type":[]}}"#,
        );
    }),
    ("nothing optional", |c| c.payload = edited(&c.payload, ",\"optional\":null", "")),
    ("printed prettily", |c| {
        let json: Value = serde_json::from_slice(&c.payload).unwrap();
        c.payload = serde_json::to_vec_pretty(&json).unwrap();
    }),
    ("escaped characters", |c| c.payload = edited(&c.payload, "acme/app", r"acme\/\u0061pp")),
    ("something beside critical", |c| c.payload = edited(&c.payload, "{", r#"{"comment":"x","#)),
    ("an empty certificate, as cosign writes it", |c| {
        for name in ["certificate", "chain"] {
            c.annotations.insert(format!("dev.sigstore.cosign/{name}"), String::new());
        }
    }),
    ("a log entry that nobody asks for", |c| {
        c.annotations.insert("dev.sigstore.cosign/bundle".to_owned(), "{}".to_owned());
    }),
    ("no reference", |c| c.payload = edited(&c.payload, r#""docker-reference":"registry.test/acme/app""#, "")),
];

const BUNDLE: &[(&str, Change<Bundle>)] = &[
    ("as it is", |_| {}),
    ("another key's hint: hints prove nothing", |b| {
        b.json = |json| json["verificationMaterial"]["publicKey"]["hint"] = json!(WORLD.stranger.hint());
    }),
    ("no hint", |b| b.json = |json| json["verificationMaterial"]["publicKey"] = json!({})),
    ("bundle version 0.1", |b| b.json = |json| json["mediaType"] = versioned("0.1")),
    ("bundle version 0.2", |b| b.json = |json| json["mediaType"] = versioned("0.2")),
    ("bundle version 0.3, in its other spelling", |b| b.json = |json| json["mediaType"] = versioned("0.3")),
    ("an empty key id", |b| b.json = |json| json["dsseEnvelope"]["signatures"][0]["keyid"] = json!("")),
    ("printed prettily", |b| {
        b.text = |text| {
            let json: Value = serde_json::from_str(&text).unwrap();
            serde_json::to_vec_pretty(&json).unwrap()
        }
    }),
    ("a statement printed prettily", |b| {
        let json: Value = serde_json::from_slice(&b.payload).unwrap();
        b.payload = serde_json::to_vec_pretty(&json).unwrap();
    }),
    ("null where nothing is", |b| {
        b.json = |json| json["verificationMaterial"]["timestampVerificationData"] = Value::Null;
    }),
    ("a name and other digests of the subject", |b| {
        b.payload = edited(&b.payload, "{\"sha256\":", "{\"sha1\":\"00\",\"sha256\":");
        b.payload = edited(&b.payload, "{\"annotations\":", "{\"name\":\"app\",\"annotations\":");
    }),
    ("annotations that the signer added", |b| {
        b.payload = edited(&b.payload, "{\"annotations\":{}", r#"{"annotations":{"build":"42","Size":"1"}"#);
    }),
    ("a predicate with words of its own", |b| {
        b.payload = edited(&b.payload, "\"predicate\":{}", r#""predicate":{"Type":"x","type":"y"}"#);
    }),
];

fn wrapped(signature: &[u8], line_end: &str) -> String {
    let text = STANDARD.encode(signature);
    let lines: Vec<&str> = text.as_bytes().chunks(20).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join(line_end) + line_end
}

fn versioned(version: &str) -> Value {
    json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"))
}

#[test]
fn unusual_honest_material_is_allowed() {
    let mut wrong = Vec::new();
    let classic = CLASSIC.iter().map(|(name, change)| {
        let mut material = Classic::honest();
        change(&mut material);
        (name, material.candidate())
    });
    let bundle = BUNDLE.iter().map(|(name, change)| {
        let mut material = Bundle::honest();
        change(&mut material);
        (name, material.candidate())
    });
    for (name, candidate) in classic.chain(bundle) {
        let outcome = Scene::with([candidate]).outcome();
        if outcome != ALLOWED {
            wrong.push(format!("{name}: {outcome}"));
        }
    }
    assert_none(&wrong);
}

/// cosign takes the first bundle or nothing; one good signature is enough, wherever it stands.
#[test]
fn one_good_signature_among_bad_ones_is_enough() {
    let by = |signer: &'static Signer| Bundle { signer, ..Bundle::honest() }.candidate();
    let junk = || candidate("referrers", Material::Bundle("junk".into()));
    let unsigned = || candidate("tag .sig", Material::Classic { payload: "x".into(), annotations: [].into() });
    let keyless = || {
        let mut material = Classic::honest();
        material.annotations.insert("dev.sigstore.cosign/certificate".to_owned(), "PEM".to_owned());
        material.candidate()
    };
    let provenance = || {
        let mut material = Bundle::honest();
        material.payload = edited(&material.payload, "sigstore.dev/cosign/sign/v1", "slsa.dev/provenance/v1");
        material.candidate()
    };
    for good in [Classic::honest().candidate(), Bundle::honest().candidate()] {
        let bad = || vec![junk(), unsigned(), keyless(), provenance(), by(&WORLD.stranger)];
        for place in 0..=bad().len() {
            let mut all = bad();
            all.insert(place, good.clone());
            assert_eq!(Scene::with(all).outcome(), ALLOWED, "at place {place}");
        }
        assert_ne!(Scene::with(bad()).outcome(), ALLOWED);
    }
}

/// Annotations of the layer are not signed, and nothing is read from them but the signature.
#[test]
fn only_the_signature_is_read_from_annotations() {
    let mut material = Classic::honest();
    for (key, value) in [("digest", "sha256:0"), ("org.opencontainers.image.ref.name", "evil"), ("critical", "{}")] {
        material.annotations.insert(key.to_owned(), value.to_owned());
    }
    assert!(!material.annotations.contains_key(SIGNATURE_ANNOTATION));
    assert_eq!(Scene::with([material.candidate()]).outcome(), ALLOWED);
}
