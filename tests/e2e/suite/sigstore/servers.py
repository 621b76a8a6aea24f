"""The Sigstore servers, and what a verifier and a signer need to know of them.

Ports are fixed: the suite has a network of its own, and the timestamp authority insists on one (:2112).
"""

import json

from registries import answers
from sigstore.certificates import FULCIO_PASSWORD, Pki
from sigstore.issuer import Issuer

ISSUER, FULCIO, FULCIO_RPC, FULCIO_METRICS = 7000, 7001, 7002, 7003
REKOR1, TRILLIAN, CT = 7011, 7012, 7013
REKOR2, REKOR2_RPC, REKOR2_METRICS = 7021, 7022, 7023
TSA = 7031

# The trusted root names the servers so. Nobody ever calls these: a verifier needs no network. The host of a
# log's url must be the origin of its checkpoints.
REKOR1_HOST, REKOR2_HOST = "rekor1.sigstore.test", "rekor2.sigstore.test"


class Servers:
    def __init__(self, workspace):
        self.workspace = workspace
        self.folder = workspace.folder("sigstore")
        self.pki = Pki(workspace.folder("sigstore/pki"))
        self.cosign = workspace.tools / "cosign/cosign"
        self.daemons = []
        # Fulcio asks the issuer when it starts, Rekor v1 asks Trillian; Rekor v1 wants the timestamp
        # authority's metrics port too, but goes on without it.
        self.issuer = Issuer(ISSUER, self.pki.path("issuer.key"))
        self._logs_in_memory()
        self._timestamp_authority()
        self._rekor2()
        self._rekor1()
        self._fulcio()
        self.trusted_root = trusted_root(workspace, self.pki, self.folder / "trusted_root.json")
        # The same names, other keys: a Sigstore that nothing here was signed with.
        strangers = Pki(workspace.folder("sigstore/other-pki"))
        self.other_root = trusted_root(workspace, strangers, self.folder / "other_root.json")

    def stop(self):
        """From here on, verification has the registries and nothing else."""
        self.issuer.close()
        for daemon in reversed(self.daemons):
            daemon.stop()

    def signing_config(self, name, rekor, timestamps):
        """One log per configuration: with two of them cosign 3.1 writes to v2 only."""
        port, version = {"v1": (REKOR1, 1), "v2": (REKOR2, 2)}[rekor]
        path = self.folder / f"signing-{name}.json"
        words = ["--fulcio", self._service(FULCIO, 1), "--oidc-provider", self._service(ISSUER, 1, "/email")]
        words += ["--rekor", self._service(port, version), "--rekor-config", "ANY"]
        if timestamps:
            words += ["--tsa", self._service(TSA, 1, "/api/v1/timestamp"), "--tsa-config", "ANY"]
        self.workspace.must(self.cosign, "signing-config", "create", "--out", path, *words)
        return path

    def _service(self, port, version, path=""):
        return f"url=http://127.0.0.1:{port}{path},api-version={version},start-time={self.pki.start_time},operator=test"

    def _start(self, name, program, *words, ready):
        argv = [self.workspace.tools / program, *words]
        self.daemons.append(self.workspace.start(name, argv, ready))

    def _logs_in_memory(self):
        """The CT log, and the tree under Rekor v1."""
        self.tree = self.folder / "rekor-tree"
        words = ["-grpc", f"127.0.0.1:{TRILLIAN}", "-http", f"127.0.0.1:{CT}", "-tree", self.tree]
        words += ["-roots", self.pki.path("fulcio-root.pem"), "-key", self.pki.path("ct.key")]
        self._start("memlogs", "memlogs/memlogs", *words, ready=lambda: self.tree.exists() and self.tree.read_text())

    def _timestamp_authority(self):
        words = ["serve", "--host", "127.0.0.1", "--port", TSA, "--disable-ntp-monitoring"]
        words += ["--timestamp-signer", "file", "--file-signer-passwd", ""]
        words += ["--file-signer-key-path", self.pki.path("tsa.key")]
        words += ["--certificate-chain-path", self.pki.path("tsa-chain.pem")]
        self._start("tsa", "sigstore/bin/timestamp-server", *words, ready=answering(TSA, "/ping"))

    def _rekor2(self):
        words = ["serve", "--hostname", REKOR2_HOST, "--http-address", "127.0.0.1", "--http-port", REKOR2]
        words += ["--grpc-address", "127.0.0.1", "--grpc-port", REKOR2_RPC, "--http-metrics-port", REKOR2_METRICS]
        words += ["--storage-dir", self.workspace.folder("sigstore/rekor2")]
        words += ["--signer-filepath", self.pki.path("rekor2.key")]
        # Each signature waits for a batch and for a checkpoint.
        words += ["--batch-max-age", "50ms", "--checkpoint-interval", "200ms"]
        self._start("rekor2", "sigstore/bin/rekor-tiles", *words, ready=answering(REKOR2, "/healthz"))

    def _rekor1(self):
        """Without its search index, which would want Redis or MySQL."""
        words = ["serve", "--rekor_server.address", "127.0.0.1", "--port", REKOR1]
        words += ["--rekor_server.hostname", REKOR1_HOST, "--rekor_server.signer", self.pki.path("rekor1.key")]
        words += ["--trillian_log_server.address", "127.0.0.1", "--trillian_log_server.port", TRILLIAN]
        words += ["--trillian_log_server.tlog_id", self.tree.read_text().strip(), "--enable_retrieve_api=false"]
        words += ["--enabled_api_endpoints", ",".join(REKOR1_ENDPOINTS)]
        self._start("rekor1", "sigstore/bin/rekor-v1", *words, ready=answering(REKOR1, "/ping"))

    def _fulcio(self):
        configuration = self.folder / "fulcio.yaml"
        configuration.write_text(self.issuer.fulcio_configuration())
        words = ["serve", "--host", "127.0.0.1", "--port", FULCIO, "--grpc-host", "127.0.0.1", "--grpc-port", FULCIO_RPC]
        words += ["--metrics-port", FULCIO_METRICS, "--legacy-unix-domain-socket", "@fulcio"]   # @: no file is left
        words += ["--ca", "fileca", "--fileca-cert", self.pki.path("fulcio-chain.pem")]
        words += ["--fileca-key", self.pki.path("fulcio.key"), "--fileca-key-passwd", FULCIO_PASSWORD]
        words += ["--config-path", configuration, "--ct-log-url", f"http://127.0.0.1:{CT}/ct"]
        words += ["--ct-log-public-key-path", self.pki.path("ct.pub")]
        self._start("fulcio", "sigstore/bin/fulcio", *words, ready=answering(FULCIO, "/healthz"))


REKOR1_ENDPOINTS = [
    "createLogEntry", "getLogEntryByIndex", "getLogEntryByUUID", "searchLogQuery", "getLogInfo", "getLogProof", "getPublicKey",
]


def answering(port, path):
    return lambda: answers(f"http://127.0.0.1:{port}{path}")


def trusted_root(workspace, pki, path):
    """All that a verifier needs, written by cosign itself."""
    start = f"start-time={pki.start_time}"
    words = ["--fulcio", f"url=https://fulcio.sigstore.test,certificate-chain={pki.path('fulcio-chain.pem')},{start}"]
    words += ["--ctfe", f"url=https://ct.sigstore.test/ct,public-key={pki.path('ct.pub')},{start}"]
    words += ["--tsa", f"url=https://tsa.sigstore.test/api/v1/timestamp,certificate-chain={pki.path('tsa-chain.pem')},{start}"]
    words += ["--rekor", f"url=https://{REKOR2_HOST},public-key={pki.path('rekor2.pub')},{start},origin={REKOR2_HOST}"]
    words += ["--rekor", f"url=https://{REKOR1_HOST},public-key={pki.path('rekor1.pub')},{start}"]
    workspace.must(workspace.tools / "cosign/cosign", "trusted-root", "create", "--out", path, *words)
    json.loads(path.read_text())
    return path
