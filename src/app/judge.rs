//! `verify` and `explain`: the gate of `serve` on a cache folder that is gone afterwards.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::{Args, Asked, Exit, ImageArgs, ImageArgument, Input, Place, Show, SignerArgs, judge_image};
use crate::config::Settings;
use crate::oci::{Digest, ImageName, Reference, Registry, Repository};
use crate::store::{Limits, VerifyReads};
use crate::tasks::Tasks;
use crate::telemetry::Metrics;
use crate::trust::{
    Enforcement, KeySigner, ParentSearch, Pattern, Policy, PublicKey, ROOT_MAX, Rule, Terms, TrustRoot,
};
use crate::upstream::{Layout, UpstreamOptions};

use super::command::{Failure, settings, usage};
use super::parts;

/// How far `verify` looks for the index of a platform's manifest: people name one image and wait for the answer.
const FIND_PARENT: ParentSearch = ParentSearch { tags: 50, deadline: Duration::from_secs(10) };

/// What images in layout folders are called that have no other name.
const FOLDER_NAME: (&str, &str) = ("localhost", "oci-layout");

/// Longest key file; PEM public keys have less than 1 KiB.
const KEY_MAX: u64 = 64 * 1024;

/// By whose word an image is judged.
pub(super) enum By<'a> {
    /// By these signers, or the configured policy where none is named.
    Signers {
        signers: &'a SignerArgs,
        /// Whether the index of a platform's manifest is looked for.
        find_parent: bool,
    },
    /// By the configured policy, or that of another file.
    Policy { file: Option<&'a Path> },
}

/// Judges an image and prints the outcome.
pub(super) async fn judge(
    args: &Args,
    image: &ImageArgs,
    input: &Input,
    by: By<'_>,
    show: Show,
) -> Result<Exit, Failure> {
    let named = by.names_signers()?;
    let settings = settings(args, input.config.as_deref())?;
    let subject = Subject::of(image, named)?;
    let (policy, root_files) = policy(args, &subject.name, &settings, &by, named)?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let tasks = Tasks::new();
    let asked = Asked {
        shown: image.image.to_string(),
        repository: subject.name.repository.clone(),
        policy: policy.clone(),
        by_arguments: named,
        place: subject.place(&settings),
        root_files,
    };
    let metrics = Arc::new(Metrics::new());
    let wanted = parts::Wanted {
        kept: parts::open(folder.path(), Limits::NONE, VerifyReads::default(), &metrics)?,
        policy,
        upstreams: parts::upstreams(&settings, subject.upstream(&settings, named)?, &Arc::default()).map_err(usage)?,
        limits: parts::limits(&settings),
        fetches_max: settings.limits.concurrent_fetches,
        metrics,
    };
    let puller = parts::puller(wanted, &tasks);
    tokio::select! {
        // Nothing outlives the command, so it may be dropped where it is.
        exit = judge_image(&puller, &subject.name, &asked, show) => Ok(exit?),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

impl By<'_> {
    fn names_signers(&self) -> Result<bool, Failure> {
        match self {
            Self::Signers { signers, .. } => signers.names_signers().map_err(|error| usage(error.into())),
            Self::Policy { .. } => Ok(false),
        }
    }
}

/// The image under the name that rules see, and where it is.
struct Subject<'a> {
    name: ImageName,
    plain_http: bool,
    folder: Option<&'a Path>,
}

impl<'a> Subject<'a> {
    fn of(image: &'a ImageArgs, names_signers: bool) -> Result<Self, Failure> {
        match (&image.image, &image.known_as) {
            (ImageArgument::Registry { .. }, Some(_)) => Err(usage(anyhow::anyhow!(
                "--as is for images in layout folders (oci:DIR): one in a registry goes by the name it has there"
            ))),
            (ImageArgument::Registry { name, plain_http }, None) => {
                Ok(Self { name: name.clone(), plain_http: *plain_http, folder: None })
            }
            (ImageArgument::Folder { .. }, None) if !names_signers => Err(usage(anyhow::anyhow!(
                "an image in a folder has no name that a policy could be about; say which with --as, such as --as ghcr.io/acme/app:1.2, or name the signer to `assay verify`: --key FILE, or --issuer URL with --identity NAME"
            ))),
            (ImageArgument::Folder { folder, reference }, known_as) => {
                let repository = match known_as {
                    Some(name) => name.repository.clone(),
                    None => nameless()?,
                };
                let reference = match reference {
                    Some(reference) => reference.clone(),
                    None => only_image(folder)?,
                };
                Ok(Self { name: ImageName { repository, reference }, plain_http: false, folder: Some(folder) })
            }
        }
    }

    fn registry(&self) -> &Registry {
        self.name.repository.registry()
    }

    fn is_configured(&self, settings: &Settings) -> bool {
        settings.upstreams.iter().any(|one| one.registry == *self.registry())
    }

    /// What to ask besides the configured upstreams, or in place of one.
    fn upstream(&self, settings: &Settings, names_signers: bool) -> Result<Vec<UpstreamOptions>, Failure> {
        if let Some(folder) = self.folder {
            return Ok(vec![UpstreamOptions::layout(self.registry().clone(), folder)]);
        }
        // Whoever names signers names the registry too; the configured world is for the configured policy.
        if !names_signers || (self.is_configured(settings) && !self.plain_http) {
            return Ok(Vec::new());
        }
        let host = if self.registry().is_docker_hub() { "registry-1.docker.io" } else { self.registry().as_str() };
        let scheme = if self.plain_http { "http" } else { "https" };
        let url = format!("{scheme}://{host}").parse().map_err(|error| usage(anyhow::Error::new(error)))?;
        Ok(vec![UpstreamOptions::new(self.registry().clone(), url)])
    }

    /// Where other tools find it.
    fn place(&self, settings: &Settings) -> Place {
        if self.folder.is_some() {
            return Place::Folder;
        }
        let registry = self.registry();
        let configured = settings.upstreams.iter().find(|one| one.registry == *registry && !self.plain_http);
        match configured {
            // Docker Hub's address is not its name.
            Some(upstream) if !registry.is_docker_hub() || upstream.url.host_str() != Some("registry-1.docker.io") => {
                let url = &upstream.url;
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                let path = url.path().trim_end_matches('/');
                let host = format!("{}{port}{path}", url.host_str().unwrap_or_default());
                Place::Registry { host, plain_http: url.scheme() == "http" }
            }
            _ => Place::Registry { host: registry.to_string(), plain_http: self.plain_http },
        }
    }
}

fn nameless() -> Result<Repository, Failure> {
    let (registry, path) = FOLDER_NAME;
    Ok(Repository::new(registry.parse().context("a registry's name")?, path).context("a repository's name")?)
}

fn only_image(folder: &Path) -> Result<Reference, Failure> {
    if !folder.exists() {
        let error = anyhow::anyhow!("there is no folder {}; oci:DIR names an OCI image layout", folder.display());
        return Err(Failure(error, Exit::NotFound));
    }
    let layout = Layout::open(folder).map_err(|error| usage(error.into()))?;
    let digest = layout.only_image().map_err(|error| match error.images.is_empty() {
        true => Failure(error.into(), Exit::NotFound),
        false => usage(anyhow::anyhow!("{error}; write oci:DIR@DIGEST or oci:DIR:TAG")),
    })?;
    Ok(Reference::Digest(digest))
}

/// The rules to judge by, and the files of their trusted roots.
fn policy(
    args: &Args,
    image: &ImageName,
    settings: &Settings,
    by: &By<'_>,
    named: bool,
) -> Result<(Policy, BTreeMap<String, String>), Failure> {
    let files = root_files(settings);
    Ok(match by {
        By::Signers { signers, find_parent } if named => {
            let terms = Terms { parent_search: find_parent.then_some(FIND_PARENT), ..Terms::default() };
            (of_signers(signers, image, &settings.default_root, terms).map_err(usage)?, files)
        }
        By::Signers { find_parent, .. } => (with_search(&settings.policy, *find_parent), files),
        By::Policy { file: None } => (settings.policy.clone(), files),
        By::Policy { file: Some(path) } => {
            let other = self::settings(args, Some(path))?;
            let files = root_files(&other);
            (other.policy, files)
        }
    })
}

/// Where the roots of a configuration lie, by their names, for the command lines of other tools.
fn root_files(settings: &Settings) -> BTreeMap<String, String> {
    let demands = settings.policy.rules().iter().filter_map(|rule| rule.demand());
    let roots = demands.flat_map(|demand| &demand.roots).chain([&settings.default_root]);
    let mut names: BTreeMap<_, _> = roots.map(|root| (root.fingerprint(), root.name())).collect();
    let mut files = BTreeMap::new();
    for path in &settings.files {
        // It was read a moment ago; if it cannot be read now, the root's name must do.
        let Ok(bytes) = read(path, ROOT_MAX) else { continue };
        if let Some(name) = names.remove(&Digest::of(&bytes)) {
            files.insert(name.to_owned(), path.display().to_string());
        }
    }
    files
}

/// The same rules; each looks for parents as `verify` does, and at least as far as it says itself.
fn with_search(policy: &Policy, find_parent: bool) -> Policy {
    let rule = |rule: &Arc<Rule>| {
        let own = rule.terms().parent_search;
        let parent_search = find_parent.then(|| own.unwrap_or(FIND_PARENT));
        rule.as_ref().clone().with_terms(Terms { parent_search, ..rule.terms().clone() })
    };
    Policy::new(policy.rules().iter().map(rule).collect(), policy.no_rule_hint().map(str::to_owned))
}

/// One rule, for this repository, that asks for what the command line says.
fn of_signers(
    signers: &SignerArgs,
    image: &ImageName,
    default_root: &TrustRoot,
    terms: Terms,
) -> anyhow::Result<Policy> {
    let keys = signers.keys.iter().map(|path| key(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let roots = match signers.trust_roots.as_slice() {
        [] => vec![default_root.clone()],
        named => named.iter().map(|path| root(path)).collect::<anyhow::Result<Vec<_>>>()?,
    };
    let enforcement = Enforcement::Enforce(signers.demand(keys, roots)?);
    let pattern = Pattern::parse(&image.repository.to_string())?;
    let rule = Rule::new("command line".to_owned(), vec![pattern], enforcement).with_terms(terms);
    Ok(Policy::new(vec![rule], None))
}

fn key(path: &Path) -> anyhow::Result<KeySigner> {
    let name = path.display().to_string();
    let text = String::from_utf8(read(path, KEY_MAX)?).with_context(|| format!("--key {name}: not text"))?;
    let key = PublicKey::from_pem(&text)
        .with_context(|| format!("--key {name} is no public key (`cosign public-key` prints one)"))?;
    Ok(KeySigner { name, key, not_before: None, not_after: None })
}

fn root(path: &Path) -> anyhow::Result<TrustRoot> {
    if SignerArgs::is_public_good(path) {
        return Ok(TrustRoot::public_good()?);
    }
    let name = path.display().to_string();
    TrustRoot::from_json(&name, &read(path, ROOT_MAX)?)
        .with_context(|| format!("--trust-root {name} is no trusted_root.json (or write public-good)"))
}

fn read(path: &Path, max: u64) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {shown}; name a file that is there"))?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
    anyhow::ensure!(bytes.len() as u64 <= max, "{shown} has more than {max} bytes; is it the right file?");
    Ok(bytes)
}
