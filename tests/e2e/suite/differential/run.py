"""The order of things: the seeds as they are, then thousands of mutated ones; each judged by both."""

import copy
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import classes, mutations, seeds, signing
from .image import ATTESTATION, BUNDLE, SIGNATURE
from .judges import Answer, Cosign
from .layout_registry import LayoutRegistry

WORKERS = 2
SECOND = 0.15         # how many cases get a second mutation
TRIES = 200           # until a mutation applies to the seed that was chosen
OF_ACCEPTED = 0.9     # how many cases start from an image that is accepted
OF_SIGNED_HERE = 0.3  # how many are signed again after what is signed was mutated
UNDER_SIGNATURES = ("payload", "statement", "log body")   # documents whose very bytes count


@dataclass
class Case:
    number: int
    seed: seeds.Seed
    image: object
    names: list   # of the mutations
    done: list    # what they did, in words
    signed_again: bool = False

    @property
    def neutral(self):
        """Nothing is said otherwise, and no byte that is signed was touched."""
        untouched = self.signed_again or not any(done.startswith(UNDER_SIGNATURES) for done in self.done)
        # The log has the hash of a classic attestation's envelope, so that another spelling is another envelope.
        envelope = any(done.startswith("envelope") for done in self.done)
        return untouched and not envelope and all(mutation.neutral for mutation in mutations.ALL if mutation.name in self.names)

    def __str__(self):
        steps = "; ".join(f"{name} ({done})" for name, done in zip(self.names, self.done))
        return f"case {self.number}: {self.seed.name}: {steps or 'as it is'}"


@dataclass
class Result:
    case: Case
    cosign: Answer
    assay: Answer
    known: str = ""       # the class of the difference
    alone: Answer = None            # what cosign says of the classic signatures alone …
    cosign_of_newer: Answer = None  # … and of the same bundles as v0.3, where Assay accepts and cosign did not


class Differential:
    """`count` mutated cases from `folder`, the same for the same `number`; `only` is one of them."""

    def __init__(self, folder, work, cosign, assay, count, number=1, only=None, report=print):
        self.work, self.count, self.number, self.only, self.report = Path(work), count, number, only, report
        self.key = signing.Key(self.work)
        self.originals = seeds.load(folder)
        self.originals += list(self.signed_here())
        self.others = [seed.image for seed in self.originals if seed.image.carriers and not seed.signed_here]
        self.cosign, self.assay = Cosign(cosign, self.work), assay
        self.began = time.monotonic()

    def signed_here(self):
        for seed in list(self.originals):
            if seed.accepted and seed.demand.root.name == "trusted_root.json":
                yield signing.signed_here(seed, self.key)
                if not seed.demand.attestation:
                    yield signing.signed_here(seed, self.key, ["build=42"])

    def all(self):
        """Every result, in order."""
        with LayoutRegistry() as self.registry, ThreadPoolExecutor(WORKERS) as pool:
            cases = [Case(-at, seed, seed.image, [], []) for at, seed in enumerate(self.originals)]
            numbers = range(1, self.count + 1) if self.only is None else [self.only]
            if self.only is not None:
                cases = []
            results = []
            for result in pool.map(self.judge, cases + [self.case(number) for number in numbers]):
                results.append(result)
                if len(results) % 500 == 0:
                    self.report(f"{len(results)} cases after {time.monotonic() - self.began:.0f} s")
        return results

    # --- making a case ------------------------------------------------------------------------

    def case(self, number):
        rng = random.Random(f"{self.number}/{number}")
        for _ in range(TRIES):
            seed = self.choose(rng)
            image = copy.deepcopy(seed.image)
            case = Case(number, seed, image, [], [])
            again = seed.signed_here and rng.random() < 0.8
            if not self.mutate(case, rng, again):
                continue
            if rng.random() < SECOND:
                self.mutate(case, rng, again)
            if again:
                signing.sign(image, self.key)
                case.signed_again = True
            try:
                image.published()
            except (LookupError, TypeError, AttributeError):
                continue   # two changes that do not go together
            return case
        raise RuntimeError(f"case {number}: no mutation applies")

    def choose(self, rng):
        wanted = rng.random() < OF_ACCEPTED
        here = wanted and rng.random() < OF_SIGNED_HERE
        return rng.choice([s for s in self.originals if s.accepted == wanted and s.signed_here == here and s.image.carriers])

    def mutate(self, case, rng, only_signed):
        mutation = rng.choices(mutations.ALL, [mutation.weight for mutation in mutations.ALL])[0]
        try:
            done = mutation.apply(case.image, rng, self.others, only_signed)
        except mutations.NotHere:
            return False
        case.names.append(mutation.name)
        case.done.append(done)
        return True

    # --- judging one ----------------------------------------------------------------------------

    def judge(self, case):
        name = f"case-{case.number + len(self.originals):06}"
        cosign, assay = self.ask(name, case.image, case.seed.demand)
        result = Result(case, cosign, assay)
        if assay.accepted and not cosign.accepted:
            self.ask_why(result, name)
        result.known = classes.of(result)
        return result

    def ask_why(self, result, name):
        """Asks cosign about the same signatures without what makes it look away."""
        demand = result.case.seed.demand
        classic, newer = copy.deepcopy(result.case.image), copy.deepcopy(result.case.image)
        classic.carriers = classic.of_kind(SIGNATURE) + classic.of_kind(ATTESTATION)
        if classic.carriers and newer.of_kind(BUNDLE):
            result.alone = self.ask(name, classic, demand)[0]
        if classes.newer(newer):
            result.cosign_of_newer = self.ask(name, newer, demand)[0]

    def ask(self, name, image, demand):
        self.registry.add(name, image.published())
        try:
            full = f"{self.registry.address}/{name}@{image.digest}"
            return self.cosign.judge(full, demand), self.assay.judge(full, demand)
        finally:
            self.registry.remove(name)
