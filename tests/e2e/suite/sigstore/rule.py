"""What a case demands of an image: the same words for cosign (`judges`) and for Assay (`configuration`)."""

from dataclasses import dataclass

OURS, OTHER = "", "other"   # trusted roots


@dataclass(frozen=True)
class Predicate:
    """A kind of attestation: our name for it, cosign's, and its type."""

    name: str
    cosign: str
    type: str


SLSA = Predicate("slsa", "slsaprovenance1", "https://slsa.dev/provenance/v1")
SLSA_02 = Predicate("slsa-0.2", "slsaprovenance02", "https://slsa.dev/provenance/v0.2")
SPDX = Predicate("spdx", "spdxjson", "https://spdx.dev/Document")
CYCLONEDX = Predicate("cyclonedx", "cyclonedx", "https://cyclonedx.org/bom")
VULNERABILITIES = Predicate("vulnerabilities", "vuln", "https://cosign.sigstore.dev/attestation/vuln/v1")
CUSTOM = Predicate("custom", "https://acme.example/review/v1", "https://acme.example/review/v1")
ABSENT = Predicate("absent", "https://acme.example/absent/v1", "https://acme.example/absent/v1")   # nobody attests this


@dataclass(frozen=True)
class Rule:
    """Signed by this key, or else by this identity of this issuer."""

    key: str = ""               # a name in `Trust.keys`
    issuer: str = ""            # a kind of `issuer.KINDS`
    identity: str = ""
    identity_regexp: str = ""
    claims: tuple = ()          # of (name as in proxy.toml, value), about the certificate's extensions
    annotations: tuple = ()     # of (name, value)
    attestations: tuple = ()    # of Predicate, by the same signer, besides the signature
    tlog: bool = True
    root: str = OURS


@dataclass
class Trust:
    """The files behind the names in rules."""

    roots: dict    # OURS, OTHER -> trusted_root.json
    keys: dict     # name -> public key
    issuer: object  # kind -> url
