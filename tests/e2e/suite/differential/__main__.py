"""By itself, from the folder of the suite: `python3 -m differential --seeds DIR --assay BIN --cosign BIN [--count N]`."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from report import Report

from . import outcome
from .judges import Assay
from .run import Differential


def main():
    parser = argparse.ArgumentParser(prog="differential")
    parser.add_argument("--seeds", default=os.environ.get("ASSAY_E2E_SEEDS"), help="folder of signed images; else ASSAY_E2E_SEEDS")
    parser.add_argument("--assay", required=True, type=Path)
    parser.add_argument("--cosign", required=True, type=Path)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--number", type=int, default=1, help="other numbers give other cases")
    parser.add_argument("--case", type=int, help="only this one")
    options = parser.parse_args()
    if not options.seeds:
        parser.error("no seeds: give --seeds, or set ASSAY_E2E_SEEDS")
    work = Path(tempfile.mkdtemp(prefix="differential."))
    report = Report()
    judge = Assay(options.assay.resolve(), work)
    run = Differential(options.seeds, work, options.cosign.resolve(), judge, options.count, options.number, options.case, print)
    outcome.told(run.all(), work, report)
    print(f"files: {work}")
    return report.close()


sys.exit(main())
