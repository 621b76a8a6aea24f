//! The media types we serve and look for. A closed list: what is not here is not a manifest.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Payload layer of a classic cosign signature.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Any version of a Sigstore bundle layer starts like this.
pub const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// What we ask upstream for; never copied from a client.
pub const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// The two shapes of manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestKind {
    /// Names other manifests.
    Index,
    /// Names a config and layers.
    Image,
}

/// One of the four manifest media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestType(&'static str, ManifestKind);

impl ManifestType {
    const ALL: [Self; 4] = [
        Self(OCI_INDEX, ManifestKind::Index),
        Self(OCI_MANIFEST, ManifestKind::Image),
        Self(DOCKER_LIST, ManifestKind::Index),
        Self(DOCKER_MANIFEST, ManifestKind::Image),
    ];

    /// Reads a media type or a `Content-Type` header (parameters such as `charset` are ignored).
    pub fn parse(text: &str) -> Option<Self> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|known| known.0.eq_ignore_ascii_case(essence))
    }

    /// The OCI type of a document that does not name its own.
    pub(super) fn untyped(kind: ManifestKind) -> Self {
        match kind {
            ManifestKind::Index => Self(OCI_INDEX, kind),
            ManifestKind::Image => Self(OCI_MANIFEST, kind),
        }
    }

    /// Its text.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Which shape it is.
    pub fn kind(self) -> ManifestKind {
        self.1
    }
}

/// Whether content of this type is a container file-system layer, whatever its compression. Media
/// types have no case (RFC 6838).
pub fn is_image_layer(media_type: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
        || media_type.starts_with("application/vnd.docker.container.image.rootfs.")
}
