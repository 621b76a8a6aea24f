//! `assay demo`: the main job on real HTTP, with no network and no configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::demo::{BuiltImage, Ending, ImageBuilder, Registry as DemoRegistry, Signer, pull};
use crate::http::{self, ListenerOptions, RegistryOptions};
use crate::oci::Registry;
use crate::store::{Limits, VerifyReads};
use crate::tasks::Tasks;
use crate::telemetry::Metrics;
use crate::trust::{Demand, Enforcement, KeySigner, Pattern, Policy, PublicKey, Rule, Tlog};
use crate::upstream::{NetworkOptions, Proxy, SignatureLimits, UpstreamOptions, Upstreams};

use super::parts;

/// The name under which the demo registry is asked for.
const REGISTRY: &str = "demo.assay";
const REPOSITORY: &str = "hello";
/// Large enough that a client sees bytes before the end is checked.
const CORRUPT_LAYER: usize = 1024 * 1024;

/// What should come of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Complete,
    Refused(&'static str),
    CutOff,
}

struct Case {
    tag: &'static str,
    image: BuiltImage,
    expected: Expected,
}

/// One line of the table.
struct Row {
    asked: String,
    verdict: String,
    signer: String,
    reason: String,
    time: Duration,
    as_expected: bool,
}

/// Runs the demo. With `once` it ends after the table, and succeeds only if every line is as expected.
pub(super) async fn demo(once: bool, port: u16) -> anyhow::Result<Exit> {
    let publisher = Signer::generate().context("cannot make a key")?;
    let upstream = DemoRegistry::start().await.context("cannot start the demo registry")?;
    let cases = stock(&upstream, &publisher)?;

    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let tasks = Tasks::new();
    let options = UpstreamOptions::new(REGISTRY.parse()?, format!("http://{}", upstream.address()).parse()?);
    let network = NetworkOptions { proxy: Proxy::None, ..NetworkOptions::default() };
    let upstreams = Upstreams::new(vec![options], network)?;
    let metrics = Arc::new(Metrics::new());
    let wanted = parts::Wanted {
        kept: parts::open(folder.path(), Limits::NONE, VerifyReads::default(), &metrics)?,
        policy: policy(&publisher)?,
        upstreams,
        limits: SignatureLimits::default(),
        fetches_max: parts::FETCHES_MAX,
        metrics,
    };
    let puller = Arc::new(parts::puller(wanted, &tasks));

    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, if once { 0 } else { port }));
    let listener = TcpListener::bind(wanted)
        .await
        .with_context(|| format!("cannot listen on {wanted}; try `assay demo --port 5055`"))?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let registry_options = RegistryOptions {
        default_upstream: REGISTRY.parse::<Registry>()?,
        deny_reason: true,
        access: false,
        sink: None,
    };
    let listener_options = ListenerOptions { grace: Duration::from_secs(1), ..ListenerOptions::default() };
    let serving = http::serve(
        listener,
        listener_options,
        registry_options,
        puller,
        tasks.clone(),
        stop.clone().cancelled_owned(),
    );

    let showing = async {
        let rows = visit(address, &cases).await;
        let good = rows.iter().all(|row| row.as_expected);
        print(&table(&rows))?;
        print(if good {
            PROVED
        } else {
            "\nSomething came out otherwise than expected: see the lines marked ✖✖.\n"
        })?;
        if !once {
            print(&paste(address, &cases))?;
            tokio::signal::ctrl_c().await?;
        }
        stop.cancel();
        anyhow::Ok(good)
    };
    let (_, good) = tokio::join!(serving, showing);
    tasks.stop(Duration::from_secs(1)).await;
    Ok(if good? { Exit::Ok } else { Exit::Internal })
}

const PROVED: &str = "
Just proved, over real HTTP: with one signature on the index, the image came through by tag, by index digest and by
platform digest; the unsigned image and the stranger's were refused before a byte of them left, and no client got the
corrupt layer whole.
";

fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{text}")
}

/// Puts four images into the registry.
fn stock(upstream: &DemoRegistry, publisher: &Signer) -> anyhow::Result<Vec<Case>> {
    let stranger = Signer::generate().context("cannot make a key")?;
    let greeting = |what: &str| ImageBuilder::new(format!("Hello from an image that {what}"));
    let cases = vec![
        Case { tag: "signed", image: greeting("Assay verified").build(), expected: Expected::Complete },
        Case { tag: "unsigned", image: greeting("nobody signed").build(), expected: Expected::Refused("NO_SIGNATURE") },
        Case {
            tag: "stranger",
            image: greeting("a stranger signed").build(),
            expected: Expected::Refused("UNTRUSTED_KEY"),
        },
        Case {
            tag: "corrupt",
            image: greeting("broke on its way").layer_padding(CORRUPT_LAYER).build(),
            expected: Expected::CutOff,
        },
    ];
    for case in &cases {
        upstream.push_image(REPOSITORY, case.tag, &case.image);
        match case.tag {
            "unsigned" => {}
            "stranger" => upstream.push_artefact(REPOSITORY, &stranger.bundle(&case.image.index)),
            _ => upstream.push_artefact(REPOSITORY, &publisher.bundle(&case.image.index)),
        }
        if case.expected == Expected::CutOff {
            for platform in &case.image.platforms {
                upstream.corrupt_blob(REPOSITORY, platform.layers.first().context("an image has a layer")?.digest);
            }
        }
    }
    Ok(cases)
}

fn policy(publisher: &Signer) -> anyhow::Result<Policy> {
    let key = PublicKey::from_pem(&publisher.public_key_pem())?;
    let signer = KeySigner { name: "publisher.pub".to_owned(), key, not_before: None, not_after: None };
    let demand = Demand { signers: vec![crate::trust::Signer::Key(signer)], tlog: Tlog::Off, ..Demand::default() };
    let pattern = Pattern::parse(&format!("{REGISTRY}/**"))?;
    Ok(Policy::new(vec![Rule::new("demo".to_owned(), vec![pattern], Enforcement::Enforce(demand))], None))
}

/// Pulls each image by tag, index digest and platform digest.
async fn visit(address: SocketAddr, cases: &[Case]) -> Vec<Row> {
    let mut rows = Vec::new();
    for case in cases {
        let platform = case.image.platform("amd64").map(|platform| platform.manifest.digest.to_string());
        let asked = [
            (format!(":{}", case.tag), Some(case.tag.to_owned())),
            (format!(":{} by index digest", case.tag), Some(case.image.index.digest.to_string())),
            (format!(":{} by platform digest", case.tag), platform),
        ];
        for (label, reference) in asked {
            let Some(reference) = reference else { continue };
            // A stranger signs the index; of its own the platform's manifest has no signature.
            let expected = match case.expected {
                Expected::Refused(_) if label.ends_with("platform digest") => Expected::Refused("NO_SIGNATURE"),
                expected => expected,
            };
            let started = Instant::now();
            let (ending, verdict) = pull(address, &format!("{REGISTRY}/{REPOSITORY}"), &reference).await;
            rows.push(row(label, expected, &ending, &verdict, started.elapsed()));
        }
    }
    rows
}

fn row(asked: String, expected: Expected, ending: &Ending, header: &str, time: Duration) -> Row {
    let (verdict, reason, as_expected) = match ending {
        Ending::Complete(bytes) => (
            header.split(';').next().unwrap_or_default(),
            format!("{bytes} bytes, all digests right"),
            expected == Expected::Complete,
        ),
        Ending::Refused(why) => {
            let code = why.split(": ").nth(3).unwrap_or(why);
            ("refused", code.to_owned(), matches!(expected, Expected::Refused(code) if why.contains(code)))
        }
        Ending::Broken(why) => {
            let as_expected = expected == Expected::CutOff && why.contains("not what its digest says");
            let cut =
                if why.starts_with("cut off") { "the layer was cut off before its end; the next try got " } else { "" };
            ("bad bytes", format!("{cut}502: its bytes do not fit its digest"), as_expected)
        }
        Ending::Poisoned(why) => ("POISONED", why.clone(), false),
    };
    let verified = verdict == "verified" || verdict == "bad bytes";
    let signer = if verified { "publisher.pub" } else { "–" };
    Row { asked, verdict: verdict.to_owned(), signer: signer.to_owned(), reason, time, as_expected }
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![format!(
        "{:<32} {:<10} {:<14} {:>8}  {}",
        "ASKED  demo.assay/hello", "VERDICT", "SIGNER", "TIME", "REASON"
    )];
    for row in rows {
        let mark = match (row.as_expected, row.verdict.as_str()) {
            (false, _) => "✖✖",
            (true, "verified") => "✔ ",
            (true, _) => "✖ ",
        };
        let time = format!("{:.1} ms", row.time.as_secs_f64() * 1000.0);
        lines
            .push(format!("{mark} {:<29} {:<10} {:<14} {time:>8}  {}", row.asked, row.verdict, row.signer, row.reason));
    }
    lines.join("\n")
}

/// Lines to paste while the demo stays up.
fn paste(address: SocketAddr, cases: &[Case]) -> String {
    let port = address.port();
    let digest = cases.first().map(|case| case.image.index.digest.to_string()).unwrap_or_default();
    format!(
        "Still serving. Paste one of these into another terminal; Ctrl-C ends it.

  docker pull localhost:{port}/{REGISTRY}/{REPOSITORY}:signed
  docker run --rm localhost:{port}/{REGISTRY}/{REPOSITORY}:signed
  docker pull localhost:{port}/{REGISTRY}/{REPOSITORY}:unsigned
  skopeo inspect --tls-verify=false docker://localhost:{port}/{REGISTRY}/{REPOSITORY}:signed
  curl -si localhost:{port}/v2/{REGISTRY}/{REPOSITORY}/manifests/unsigned
  curl -si localhost:{port}/v2/{REGISTRY}/{REPOSITORY}/manifests/{digest}
"
    )
}
