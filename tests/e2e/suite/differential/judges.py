"""Asks cosign, and Assay, what they make of an image."""

import json
import subprocess
from dataclasses import dataclass, field

from .seeds import CLAIMS, PREDICATES

TIMEOUT_S = 60   # of one question; a quarter of a second is usual
CODES = {3: "REFUSED", 5: "COULD NOT CHECK"}   # exit codes of `assay verify`


@dataclass
class Answer:
    accepted: bool
    said: str = ""       # cosign's error; Assay's reason and detail
    reason: str = ""     # Assay's code, or CRASHED, UNKNOWN …
    checks: list = field(default_factory=list)   # of Assay: what failed in each candidate


def run(words, env):
    try:
        done = subprocess.run([str(word) for word in words], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


class Cosign:
    def __init__(self, program, home):
        self.program = program
        self.env = {"HOME": str(home), "DOCKER_CONFIG": str(home), "TUF_ROOT": str(home / "tuf"), "PATH": "/usr/bin:/bin"}

    def judge(self, name, demand):
        answer = run([self.program, *self.words(demand), name], self.env)
        if answer is None:
            return Answer(False, "no end", "TIMEOUT")
        code, _, errors = answer
        lines = [line for line in errors.splitlines() if line.startswith(("Error", "panic:"))]
        crashed = "panic:" in errors or code < 0
        return Answer(code == 0, (lines or [errors.strip()])[0] if code else "", "CRASHED" if crashed else "")

    @staticmethod
    def words(demand):
        # Without --offline cosign asks the public log about a classic signature that has no entry.
        words = ["verify-attestation", "--type", demand.attestation] if demand.attestation else ["verify"]
        words += ["--offline", "--allow-http-registry", "--trusted-root", demand.root]
        words += ["--key", demand.key] if demand.key else ["--certificate-oidc-issuer", demand.issuer, "--certificate-identity", demand.identity]
        words += [] if demand.tlog else ["--insecure-ignore-tlog=true"]
        words += [f"{flag}={value}" for flag, value in demand.claims]
        return words + [word for annotation in demand.annotations for word in ("-a", annotation)]


class Assay:
    def __init__(self, program, home):
        self.program = program
        self.env = {"HOME": str(home), "DOCKER_CONFIG": str(home), "PATH": "/usr/bin:/bin"}

    def judge(self, name, demand):
        answer = run([self.program, *self.words(demand), f"http://{name}"], self.env)
        if answer is None:
            return Answer(False, "no end", "TIMEOUT")
        code, out, errors = answer
        try:
            report = json.loads(out)
        except ValueError:
            return Answer(False, errors.strip() or out, f"EXIT {code}")
        return self.read(code, report)

    @staticmethod
    def read(code, report):
        checks = [
            f"{check['name']}: {check['detail']}" for candidate in report.get("candidates") or [] for check in candidate["checks"]
            if check["outcome"] == "failed"
        ]
        for look in report.get("looked_at") or []:
            if isinstance(look["found"], dict) and "candidates" not in look["found"]:
                checks += [f"{kind}: {why}" for kind, why in look["found"].items()]
        reason = "" if code == 0 else report.get("reason") or CODES.get(code, f"EXIT {code}")
        return Answer(code == 0, report.get("detail") or "", reason, checks)

    @staticmethod
    def words(demand):
        words = ["verify", "--json", "--no-find-parent", "--trust-root", demand.root]
        words += ["--key", demand.key] if demand.key else ["--issuer", demand.issuer, "--identity", demand.identity]
        words += [] if demand.tlog else ["--tlog", "off"]
        words += [word for flag, value in demand.claims for word in ("--claim", f"{CLAIMS[flag]}={value}")]
        words += [word for annotation in demand.annotations for word in ("--annotation", annotation)]
        return words + (["--attestation", PREDICATES.get(demand.attestation, demand.attestation)] if demand.attestation else [])
