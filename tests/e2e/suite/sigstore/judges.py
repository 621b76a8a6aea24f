"""Who judges an image by a rule: cosign, the proxy (by what it hands out), and `assay verify`."""

import json
from dataclasses import dataclass

from sigstore import configuration
from sigstore.cases import ACCEPT, REFUSE
from sigstore.repository import Repository, digest_of

COSIGN_REFUSES = [10, 12]   # exit codes: there is no signature; there is none that matches
COSIGN_FAILS = 1            # of a bundle, and of everything else: what it says must tell
COSIGN_REFUSES_BUNDLE = ["no matching attestations", "failed to verify", "none of the"]
ASSAY_VERDICTS = {0: ACCEPT, 3: REFUSE}   # exit codes of `assay verify`
GITHUB_FLAGS = {   # a claim as in proxy.toml -> cosign's flag, and what cosign leaves away in front of the value
    "source_repository": ("--certificate-github-workflow-repository", "https://github.com/"),
    "source_ref": ("--certificate-github-workflow-ref", ""),
    "trigger": ("--certificate-github-workflow-trigger", ""),
}


@dataclass
class Judgement:
    verdict: str   # ACCEPT, REFUSE, or what else happened
    said: str = ""


class Cosign:
    def __init__(self, workspace, files):
        self.workspace, self.files = workspace, files
        self.program = workspace.tools / "cosign/cosign"

    def judge(self, case, repository, digest):
        """`verify`, and `verify-attestation` for each kind that the rule wants."""
        rule = case.rule
        words = self._words(rule)
        annotations = [word for name, value in rule.annotations for word in ("-a", f"{name}={value}")]
        questions = [["verify", *annotations]]
        questions += [["verify-attestation", "--type", predicate.cosign] for predicate in rule.attestations]
        for question in questions:
            oci11 = ["--experimental-oci11", "--new-bundle-format=false"] if case.oci11 else []
            name = f"{repository.address}/{repository.path}@{digest}"
            done = self.workspace.run(self.program, *question, *words, *oci11, name, COSIGN_EXPERIMENTAL="1" if case.oci11 else "0")
            if not done.ok:
                return refused_by_cosign(done)
        return Judgement(ACCEPT)

    def _words(self, rule):
        # Without --offline cosign asks the public log about a classic signature that has no entry.
        words = ["--allow-http-registry", "--offline", "--trusted-root", self.files.roots[rule.root]]
        if not rule.tlog:
            words.append("--insecure-ignore-tlog=true")
        if rule.key:
            return [*words, "--key", self.files.keys[rule.key]]
        words += ["--certificate-oidc-issuer", self.files.issuer(rule.issuer)]
        if rule.identity:
            words += ["--certificate-identity", rule.identity]
        else:
            words += ["--certificate-identity-regexp", rule.identity_regexp]
        for name, value in rule.claims:
            flag, left_away = GITHUB_FLAGS[name]
            words.append(f"{flag}={value.removeprefix(left_away)}")
        return words


def refused_by_cosign(done):
    errors = [line for line in done.text.splitlines() if line.startswith("Error")]
    refused = done.code in COSIGN_REFUSES or (
        done.code == COSIGN_FAILS and any(word in done.text for word in COSIGN_REFUSES_BUNDLE)
    )
    if refused:
        return Judgement(REFUSE, errors[0] if errors else done.text)
    return Judgement(f"could not ({done.code})", done.text)


class Proxy:
    """Takes all that a client would; an image is accepted if all of it comes, and refused if nothing does."""

    def __init__(self, address):
        self.address = address

    def repository(self, case, registry):
        return Repository(self.address, f"{configuration.upstream_name(case, registry)}/{case.image}")

    def judge(self, case, registry, image):
        repository, digest = self.repository(case, registry), image.digest(case.part)
        answer = repository.get("manifests", digest)
        if answer.status == 403:
            return self._nothing_comes(repository, image, answer)
        if answer.status != 200 or digest_of(answer.body) != digest:
            return Judgement(f"HTTP {answer.status}", told(answer))
        part = "amd64" if case.part == "index" else case.part
        return self._all_comes(repository, image, part)

    def _all_comes(self, repository, image, part):
        answer = repository.get("manifests", image.parts[part])
        if answer.status != 200 or digest_of(answer.body) != image.parts[part]:
            return Judgement(f"{part} manifest: HTTP {answer.status}", told(answer))
        manifest = json.loads(answer.body)
        for blob in [manifest["config"], *manifest["layers"]]:
            answer = repository.get("blobs", blob["digest"])
            if answer.status != 200 or digest_of(answer.body) != blob["digest"]:
                return Judgement(f"{part} blob: HTTP {answer.status}", told(answer))
        return Judgement(ACCEPT)

    def _nothing_comes(self, repository, image, refusal):
        """Neither a platform nor a layer, asked for by digests that a client may know from elsewhere."""
        layer = image.repository.manifest(image.parts["amd64"])["layers"][0]
        for kind, digest in (("manifests", image.parts["amd64"]), ("blobs", layer["digest"])):
            answer = repository.get(kind, digest)
            if answer.status != 403:
                return Judgement(f"{kind} of a refused image: HTTP {answer.status}", told(answer))
        return Judgement(REFUSE, told(refusal))


def told(answer):
    try:
        return json.loads(answer.body)["errors"][0]["message"]
    except (ValueError, LookupError):
        return answer.body[:300].decode(errors="replace")


class Command:
    """`assay verify`, at the registry itself."""

    def __init__(self, workspace, binary, files):
        self.workspace, self.binary, self.files = workspace, binary, files

    def judge(self, case, image):
        name = f"http://{image.repository.address}/{image.repository.path}@{image.digest(case.part)}"
        for words in configuration.arguments(case.rule, self.files):
            done = self.workspace.run(self.binary, "verify", *words, name)
            if not done.ok:
                break
        return Judgement(ASSAY_VERDICTS.get(done.code, f"exit code {done.code}"), done.text)
