"""Runs the suite. Started by `tests/e2e/run`, in namespaces of its own with nothing but loopback."""

import argparse
import sys

import clients
import differential.suite
import images
import registries
import situations
from assay import Assay, NoAssay
from crash import Crash
from load import Load
from report import Report
from sigstore.run import Sigstore
from workspace import Workspace

STRAINS = ["load", "crash"]   # of assay alone, without clients and without a control run


def main():
    parser = argparse.ArgumentParser()
    names = [client.name for client in clients.ALL] + ["cosign", "sigstore", "differential"] + STRAINS
    parser.add_argument("--folder", required=True)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--assay")
    parser.add_argument("--only", choices=names, action="append")
    parser.add_argument("--without-assay", action="store_true")
    options = parser.parse_args()
    wanted = options.only or names

    workspace = Workspace(options.folder, options.tools)
    report = Report()
    try:
        upstreams = registries.start(workspace)
        if set(wanted) - {"sigstore", "differential", *STRAINS}:
            with_clients(workspace, options, wanted, upstreams, report)
        if "sigstore" in wanted:
            Sigstore(workspace, options.assay, upstreams, report).all()
        if "differential" in wanted and not options.without_assay:
            differential.suite.run(workspace, options.assay, report)
        if not options.without_assay:
            under_strain(workspace, options.assay, wanted, upstreams[0], report)
    finally:
        workspace.close()
    return report.close()


def with_clients(workspace, options, wanted, upstreams, report):
    made = images.make(workspace, upstreams)
    situations.control_of_images(workspace, made, upstreams, report)
    assay = NoAssay(upstreams) if options.without_assay else Assay(workspace, options.assay, upstreams, made.public_key)
    for kind in clients.ALL:
        if kind.name in wanted:
            client = kind(workspace, assay.route)
            situations.Situations(client, assay, made, upstreams, report, options.without_assay).all()
    if "cosign" in wanted:
        situations.cosign_through_assay(workspace, assay, made, report)


def under_strain(workspace, binary, wanted, registry, report):
    def make_assay(upstreams, public_key):
        return Assay(workspace, binary, upstreams, public_key)

    if "load" in wanted:
        Load(workspace, make_assay, registry, report).all()
    if "crash" in wanted:
        Crash(workspace, make_assay, registry, report).all()


sys.exit(main())
