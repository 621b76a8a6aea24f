"""The order of things: servers up, sign, servers down, judge, pull with real clients."""

import time
from concurrent.futures import ThreadPoolExecutor

from assay import ADDRESS, Assay
from clients import Containerd24, Podman, Route, Skopeo
from images import Image, key_pair
from situations import must_be_refused, must_work

from sigstore import configuration, forgery, recipes, tiny
from sigstore.cases import ACCEPT, all_cases
from sigstore.judges import Command, Cosign, Proxy
from sigstore.rule import OTHER, OURS, Trust
from sigstore.servers import Servers
from sigstore.signer import Signer
from sigstore.table import Table

AT_ONCE = 4   # a signature is mostly waiting for the logs
CLIENTS = [Skopeo, Podman, Containerd24]
PULLED = [   # by real clients too
    "v2-email", "v1-github-claims", "classic-gitlab", "v2-key", "v2-attested-slsa", "v2-recursive-index", "classic-right-bundle-wrong",
    "v2-person", "classic-fork", "v1-tsa-key-stranger", "called-by-fork", "attested-only", "unsigned",
    "forged-v2-email-signature", "forged-classic-email-other-log-entry",
]


class Sigstore:
    """`binary` is Assay's, or None for the control run: cosign alone."""

    def __init__(self, workspace, binary, registries, report):
        self.workspace, self.binary, self.registries, self.report = workspace, binary, registries, report
        self.table = Table(registries, report)
        self.cases = all_cases()
        self.assay = None

    def all(self):
        try:
            self._prepare()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                self._judge(pool)
            self.table.print()
            self.table.write(self.workspace.root / "sigstore-answers.txt")
            if self.binary:
                self._clients()
        except Exception as error:
            self.report.check("sigstore", "ran to the end", "", f"{type(error).__name__}: {error}")
        finally:
            if self.assay:
                self.assay.stop()

    # --- making ------------------------------------------------------------------------------

    def _prepare(self):
        servers = Servers(self.workspace)
        keys = {name: key_pair(self.workspace, f"sigstore-{name}") for name in (recipes.OURS, recipes.STRANGER)}
        self.files = Trust(
            roots={OURS: servers.trusted_root, OTHER: servers.other_root},
            keys={name: key.with_suffix(".pub") for name, key in keys.items()},
            issuer=servers.issuer.url,
        )
        began = time.monotonic()
        self.made = self._make(Signer(self.workspace, servers, keys))
        took = time.monotonic() - began
        self.report.note("sigstore", f"{sum(map(len, self.made.values()))} images signed or forged in {took:.0f} s")
        servers.stop()   # nobody needs them to verify

    def _make(self, signer):
        """registry -> image's name -> Tiny"""
        made = {registry.name: {} for registry in self.registries}

        def sign(name, steps, registry):
            image = tiny.build(registry, name, content=name)
            for step in steps:
                signer.perform(step, image)
            made[registry.name][name] = image

        def forge(name, steps, registry):
            [step] = steps
            image = tiny.build(registry, name, content=name if step.needs_another_image else step.of)
            forgery.perform(step, image, made[registry.name])
            made[registry.name][name] = image

        for name, steps in recipes.FIRST.items():
            for registry in self.registries:
                sign(name, steps, registry)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for make, images in ((sign, recipes.SIGNED), (forge, recipes.FORGED)):
                jobs = [pool.submit(make, name, steps, r) for name, steps in images.items() for r in self.registries]
                for job in jobs:
                    job.result()
        return made

    # --- judging -----------------------------------------------------------------------------

    def _judge(self, pool):
        cosign = Cosign(self.workspace, self.files)

        def directly(case, registry, image):
            return cosign.judge(case, image.repository, image.digest(case.part))

        self._ask(pool, "cosign", directly)
        if not self.binary:
            return
        self.assay = SigstoreAssay(self.workspace, self.binary, self.registries, [case for _, case in self.cases], self.files)
        proxy, command = Proxy(ADDRESS), Command(self.workspace, self.binary, self.files)
        self.assay.start_empty()
        self._ask(pool, "assay", proxy.judge)
        self._ask(pool, "verify", lambda case, registry, image: command.judge(case, image))

        def through(case, registry, image):
            return cosign.judge(case, proxy.repository(case, registry), image.digest(case.part))

        # What Assay hands out must be whole for whoever verifies by himself.
        self._hold(pool, "through", through, lambda case: case.cosign == case.assay == ACCEPT)
        self.assay.restart()
        self._hold(pool, "restart", proxy.judge, lambda case: True, lambda case: case.assay)

    def _ask(self, pool, judge, ask):
        for section, case, registry, answer in self._answers(pool, ask, lambda case: True):
            self.table.add(section, case, registry.name, judge, answer)
            if judge == "assay" and answer.verdict != case.assay:
                print("    " + self._explained(case, registry).replace("\n", "\n    "))

    def _hold(self, pool, column, ask, which, wanted=lambda case: ACCEPT):
        """A second look, whose answer is already known."""
        for section, case, registry, answer in self._answers(pool, ask, which):
            problem = "" if answer.verdict == wanted(case) else f"{answer.verdict}: {answer.said}"
            self.table.check(column, section, case, registry.name, problem)

    def _answers(self, pool, ask, which):
        jobs = [
            (section, case, registry, pool.submit(ask, case, registry, self.made[registry.name][case.image]))
            for section, case in self.cases if which(case) for registry in self.registries
        ]
        for section, case, registry, job in jobs:
            yield section, case, registry, job.result()

    def _explained(self, case, registry):
        image = self.made[registry.name][case.image]
        name = f"{configuration.upstream_name(case, registry)}/{case.image}@{image.digest(case.part)}"
        return self.workspace.run(self.binary, "explain", "-c", self.assay.config, name).text

    # --- real clients ------------------------------------------------------------------------

    def _clients(self):
        cases = {case.name: case for _, case in self.cases}
        self.assay.start_empty()
        for kind in CLIENTS:
            client = kind(self.workspace, self.assay.route_to([cases[name] for name in PULLED]))
            try:
                client.fresh()
                for name in PULLED:
                    for registry in self.registries:
                        self._pull(client, cases[name], registry)
            except Exception as error:
                self.report.check(client.name, "ran to the end", "sigstore", f"{type(error).__name__}: {error}")
            finally:
                client.stop()

    def _pull(self, client, case, registry):
        made = self.made[registry.name][case.image]
        image = Image(configuration.upstream_name(case, registry), case.image, f"@{made.index}", f"@{made.parts['amd64']}", "")
        for reference in (f":{tiny.TAG}", image.index):
            outcome = client.pull(image, reference)
            problem = must_work(outcome) if case.assay == ACCEPT else must_be_refused(outcome)
            what = "pulled" if case.assay == ACCEPT else "refused"
            self.report.check(client.name, f"sigstore: {what}", f"{image}{reference[:9]}", problem, quiet=True)


class SigstoreAssay(Assay):
    """An Assay whose every case is an upstream and a policy of its own."""

    def __init__(self, workspace, binary, registries, cases, files):
        super().__init__(workspace, binary, registries, None)
        self.cases, self.files = cases, files

    def route_to(self, cases):
        names = [configuration.upstream_name(case, registry) for case in cases for registry in self.registries]
        return Route({name: f"{ADDRESS}/{name}" for name in names}, {name: f"http://{ADDRESS}" for name in names})

    def _configuration(self, cache):
        tables = configuration.upstreams(self.cases, self.registries) + configuration.trust(self.files)
        tables += configuration.policies(self.cases, self.registries, self.files)
        return self._frame(cache, configuration.upstream_name(self.cases[0], self.registries[0]), tables)
