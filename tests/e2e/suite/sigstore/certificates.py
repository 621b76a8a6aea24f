"""Keys and certificates of a private Sigstore."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FULCIO_PASSWORD = "test"   # Fulcio wants its key encrypted
YEARS = 10


class Pki:
    """Files in `folder`: NAME.key, NAME.pub for each server, fulcio-chain.pem, fulcio-root.pem, tsa-chain.pem."""

    def __init__(self, folder):
        self.folder = folder
        now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        self.start = now - datetime.timedelta(hours=1)   # valid at the first signature, whatever rounding does
        self.end = self.start + datetime.timedelta(days=365 * YEARS)
        self._fulcio()
        self._timestamp_authority()
        self._key("rekor2", ed25519.Ed25519PrivateKey.generate())
        self._key("rekor1", p256())
        self._key("ct", p256())
        self._key("issuer", rsa.generate_private_key(65537, 2048))

    def path(self, name):
        return self.folder / name

    @property
    def start_time(self):
        return self.start.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _fulcio(self):
        """As the public one: a root, and an intermediate that signs. Fulcio wants it marked for code signing."""
        root_key, key = p256(), self._key("fulcio", p256(), FULCIO_PASSWORD)
        root = self._certificate("fulcio-root", root_key, path_length=1)
        issuing = self._certificate("fulcio", key, (root, root_key), path_length=0, usage=ExtendedKeyUsageOID.CODE_SIGNING)
        self._write("fulcio-chain.pem", issuing, root)
        self._write("fulcio-root.pem", root)

    def _timestamp_authority(self):
        """Leaf first. RFC 3161 wants the leaf's usage to be critical."""
        usage = ExtendedKeyUsageOID.TIME_STAMPING
        root_key, issuing_key, key = p256(), p256(), self._key("tsa", p256())
        root = self._certificate("tsa-root", root_key, path_length=1)
        issuing = self._certificate("tsa-issuing", issuing_key, (root, root_key), path_length=0, usage=usage)
        leaf = self._certificate("tsa", key, (issuing, issuing_key), is_ca=False, usage=usage)
        self._write("tsa-chain.pem", leaf, issuing, root)

    def _certificate(self, name, key, issuer=None, is_ca=True, path_length=None, usage=None):
        """`issuer` is (certificate, key); without it the certificate signs itself."""
        attributes = [(NameOID.ORGANIZATION_NAME, "sigstore.test"), (NameOID.COMMON_NAME, name)]
        subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
        parent, parent_key = issuer or (None, key)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(parent.subject if parent else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.start)
            .not_valid_after(self.end)
            .add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
            .add_extension(key_usage(is_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(parent_key.public_key()), critical=False)
        )
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=not is_ca)
        return builder.sign(parent_key, hashes.SHA256())

    def _key(self, name, key, password=None):
        encryption = (
            serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        )
        self.path(f"{name}.key").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        self.path(f"{name}.pub").write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return key

    def _write(self, name, *certificates):
        pem = [certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates]
        self.path(name).write_bytes(b"".join(pem))


def p256():
    return ec.generate_private_key(ec.SECP256R1())


def key_usage(is_ca):
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
