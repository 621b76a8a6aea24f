"""What a run found: figures, the table of differences, and a folder for each case that failed."""

import json
import shlex
from collections import Counter

from . import classes
from .image import INDEX, digest_of
from .judges import Assay, Cosign

OF_SEEDS = {"attestation for a signature", "body in a Rekor v2 entry", "classic beside a bundle"}   # before any mutation, too
SHOWN = 20   # failures that are printed; all are kept in folders


def told(results, work, report):
    """Reports every result through `report.check` and `report.note`; keeps what failed below `work`."""
    counts = Counter((result.cosign.accepted, result.assay.accepted) for result in results)
    report.note("differ", f"{len(results)} cases: both accept {counts[True, True]}, both refuse {counts[False, False]}, "
                          f"only cosign accepts {counts[True, False]}, only Assay accepts {counts[False, True]}")
    table(results, report)
    failures = [(result, problem) for result in results if (problem := wrong(result))]
    for number, (result, problem) in enumerate(failures):
        folder = keep(result, problem, work / f"failed-{result.case.number}")
        if number < SHOWN:
            report.check("differ", "cases", str(result.case), f"{problem}\nkept in {folder}")
    report.check("differ", "every difference explained", f"{len(results) - len(failures)} of {len(results)}",
                 f"{len(failures)} are not" if failures else "")


def wrong(result):
    """What is wrong with a result, or nothing."""
    cosign, assay, case = result.cosign, result.assay, result.case
    if result.known in (classes.FALSE_ACCEPT, classes.UNEXPLAINED):
        return f"{result.known}\ncosign: {cosign.said or 'accepts'}\nAssay: {assay.reason or 'accepts'} {assay.said} {assay.checks}"
    if assay.reason.startswith(("EXIT", "TIMEOUT")):
        return f"Assay: {assay.reason} {assay.said}"
    if not case.names and not case.seed.signed_here and cosign.accepted != case.seed.accepted:
        return f"cosign said otherwise when this was made: {cosign.said or 'accepts'}"
    if case.names and case.neutral and case.seed.accepted and not cosign.accepted and not assay.accepted:
        return f"both refuse, and nothing is said otherwise\ncosign: {cosign.said}\nAssay: {assay.said}"
    if case.names and case.neutral and result.known and result.known not in OF_SEEDS:
        return f"nothing is said otherwise, and only one refuses ({result.known})\ncosign: {cosign.said}\nAssay: {assay.said} {assay.checks}"
    return ""


def table(results, report):
    whys = {difference.name: difference.why for difference in classes.LOOSER + classes.STRICTER}
    for name, count in Counter(result.known for result in results if result.known).most_common():
        of_class = [result for result in results if result.known == name]
        reasons = Counter(result.assay.reason or "accepts" for result in of_class)
        report.note("differ", f"{count:5} {name}: Assay {', '.join(f'{code} {n}' for code, n in reasons.most_common())}. {whys.get(name, '')}")
        report.note("differ", f"        such as {of_class[0].case}")


def keep(result, problem, folder):
    """The image as an OCI layout, with the commands that judge it."""
    image, demand = result.case.image, result.case.seed.demand
    published = image.published()
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for content in [*published.blobs.values(), *(content for _, content in published.manifests.values())]:
        (blobs / digest_of(content).removeprefix("sha256:")).write_bytes(content)
    tags = {image.digest: "case"} | {digest: tag for tag, digest in published.tags.items()}
    entries = [
        {"mediaType": media_type, "digest": digest, "size": len(content)}
        | ({"annotations": {"org.opencontainers.image.ref.name": tags[digest]}} if digest in tags else {})
        for digest, (media_type, content) in published.manifests.items()
    ]
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
    words = [f"cosign {shlex.join(map(str, Cosign.words(demand)))} IMAGE", f"assay {shlex.join(map(str, Assay.words(demand)))} oci:{folder}"]
    (folder / "README").write_text("\n".join([str(result.case), problem, *words, ""]))
    return folder
