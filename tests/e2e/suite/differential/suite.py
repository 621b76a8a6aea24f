"""As a part of the whole suite: left out, saying so, where there are no seeds."""

import os

from . import outcome
from .judges import Assay
from .run import Differential

COUNT = 300   # in CI; by hand, `python3 -m differential --count 5000`


def run(workspace, binary, report):
    seeds = os.environ.get("ASSAY_E2E_SEEDS")
    if not seeds:
        report.note("differ", "left out: ASSAY_E2E_SEEDS names no folder of signed images")
        return
    work = workspace.folder("differential")
    count, number = (int(os.environ.get(f"DIFFERENTIAL_{name}", default)) for name, default in (("COUNT", COUNT), ("NUMBER", 1)))
    cosign = workspace.tools / "cosign/cosign"
    outcome.told(Differential(seeds, work, cosign, Assay(binary, work), count, number).all(), work, report)
