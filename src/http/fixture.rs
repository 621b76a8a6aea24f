//! Proved content for this folder's tests: an image that was admitted and stored.

use bytes::Bytes;

use crate::oci::{ByteRange, Digest, Manifest};
use crate::pull::Servable;
use crate::store::{DiskStore, Spool};
use crate::trust::{self, Enforcement, Judgement, Pattern, Rule, Search, Verified};

/// An image with one layer in `ghcr.io/acme/app`, under the rule `acme`.
pub(super) struct Image {
    manifest: Verified<Manifest>,
    layer: Bytes,
    store: DiskStore,
    _folder: tempfile::TempDir,
}

impl Image {
    /// Not signed, under a rule that is off.
    pub(super) async fn new() -> Self {
        Self::under(Enforcement::Off(trust::danger::Unsigned::as_written_by_the_operator())).await
    }

    /// Judged under a rule named `acme`, which must let it pass.
    pub(super) async fn under(enforcement: Enforcement) -> Self {
        let layer = Bytes::from(vec![b'x'; 200_000]);
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"digest":"{}","size":2}},"layers":[{{"digest":"{}","size":{}}}]}}"#,
            Digest::of(b"{}"),
            Digest::of(&layer),
            layer.len()
        );
        let manifest = Manifest::parse(text.into(), None).unwrap();
        let rule = Rule::new("acme".to_owned(), vec![Pattern::parse("ghcr.io/acme/**").unwrap()], enforcement);
        let repository = "ghcr.io/acme/app".parse().unwrap();
        let judged = trust::judge(manifest, &repository, &rule, &Search::default(), jiff::Timestamp::UNIX_EPOCH);
        let Judgement::Allow(manifest) = judged else { panic!("the rule lets it pass") };
        let folder = tempfile::tempdir().unwrap();
        let image = Self { manifest, layer, store: DiskStore::open(folder.path()).unwrap(), _folder: folder };
        let mut spool = image.spool().await;
        spool.write(vec![image.layer.clone()]).await.unwrap();
        image.store.commit(spool.seal().await.unwrap()).await.unwrap();
        image
    }

    pub(super) fn manifest(&self) -> Servable {
        Servable::manifest(&self.manifest)
    }

    pub(super) fn manifest_bytes(&self) -> Bytes {
        self.manifest.get().bytes().clone()
    }

    pub(super) fn layer(&self) -> &Bytes {
        &self.layer
    }

    pub(super) fn layer_head(&self) -> Servable {
        Servable::head(&self.admitted())
    }

    pub(super) async fn layer_whole(&self) -> Servable {
        let blob = self.store.open_blob(self.admitted().claim()).await.unwrap().unwrap();
        Servable::stored(&self.admitted(), blob).unwrap()
    }

    pub(super) async fn layer_part(&self, part: std::ops::Range<u64>) -> Servable {
        let blob = self.store.open_blob(self.admitted().claim()).await.unwrap().unwrap();
        let range = ByteRange { start: part.start, end: part.end };
        Servable::stored_range(&self.admitted(), blob, range).await.unwrap().unwrap()
    }

    /// The layer while it arrives in `spool`.
    pub(super) fn layer_arriving(&self, spool: &Spool) -> Servable {
        Servable::arriving(&self.admitted(), spool.incoming(), None).unwrap()
    }

    /// A place for the layer to arrive in.
    pub(super) async fn spool(&self) -> Spool {
        self.store.begin(self.admitted().claim()).unwrap()
    }

    fn admitted(&self) -> trust::AdmittedBlob {
        self.manifest.blob(Digest::of(&self.layer)).unwrap()
    }
}

/// A response as text: status line, headers in order, body.
pub(super) async fn shown(reply: super::reply::Reply) -> String {
    shown_as(reply, false).await
}

/// As [`shown`], for a HEAD request if `head`.
pub(super) async fn shown_as(reply: super::reply::Reply, head: bool) -> String {
    use http_body_util::BodyExt as _;
    use std::fmt::Write as _;

    let (parts, body) = reply.into_response(head, None).into_parts();
    let phrase =
        parts.extensions.get::<hyper::ext::ReasonPhrase>().map(|p| format!(" {}", p.as_bytes().escape_ascii()));
    let mut text = format!("{}{}\n", parts.status.as_u16(), phrase.unwrap_or_default());
    let mut headers: Vec<_> = parts.headers.iter().map(|(k, v)| format!("{k}: {}", v.to_str().unwrap())).collect();
    headers.retain(|line| !line.starts_with("docker-distribution-api") && !line.starts_with("x-content-type-options"));
    headers.sort();
    let body = body.collect().await.map(|body| body.to_bytes());
    let body = body.map_or_else(
        |e| format!("broken off: {e}"),
        |body| match std::str::from_utf8(&body) {
            Ok(text) if text.len() < 1000 => text.to_owned(),
            _ => format!("{} bytes", body.len()),
        },
    );
    write!(text, "{}\n\n{body}", headers.join("\n")).unwrap();
    text
}
