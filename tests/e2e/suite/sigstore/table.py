"""Case x registry x judge, and what counts as a failure."""

from sigstore.cases import ACCEPT

JUDGES = ["cosign", "assay", "verify"]   # cosign at the registry; the proxy; `assay verify`
MARKS = {"accept": "yes", "refuse": "no"}


class Table:
    def __init__(self, registries, report):
        self.registries, self.report = registries, report
        self.rows = {}   # (section, case) -> {(registry, judge): Judgement}

    def add(self, section, case, registry, judge, judgement):
        """One answer of a judge, held against what the case expects."""
        self.rows.setdefault((section, case), {})[registry, judge] = judgement
        wanted = expected(case, judge)
        problem = "" if judgement.verdict == wanted else f"{judgement.verdict}, not {wanted}: {judgement.said}"
        self.check(judge, section, case, registry, problem)

    def check(self, column, section, case, registry, problem):
        self.report.check(column, f"sigstore: {section}", f"{case.name} at {registry}", problem, quiet=True)

    def write(self, path):
        """What each judge said, in its own words."""
        lines = [
            f"{case.name} at {registry}: {judge}: {judgement.verdict}: {judgement.said}".replace("\n", " | ")
            for (_, case), row in self.rows.items() for (registry, judge), judgement in row.items()
        ]
        path.write_text("\n".join(lines) + "\n")

    def print(self):
        names = [registry.name for registry in self.registries]
        present = [judge for judge in JUDGES if any((names[0], judge) in row for row in self.rows.values())]
        print(f"\n{'case':42}" + "".join(f" {name:{8 * len(present)}}" for name in names))
        print(" " * 42 + "".join(" " + "".join(f"{judge:8}" for judge in present) for _ in names))
        last = None
        for (section, case), row in self.rows.items():
            if section != last:
                print(f"--- {section}")
                last = section
            cells = "".join(
                " " + "".join(f"{cell(case, judge, row.get((name, judge))):8}" for judge in present) for name in names
            )
            print(f"{case.name:42}{cells} {case.why}".rstrip())
        self._totals(names, present)

    def _totals(self, names, present):
        answers = [(case, row, name) for (_, case), row in self.rows.items() for name in names]
        for judge in present:
            got = [row[name, judge].verdict for _, row, name in answers if (name, judge) in row]
            self.report.note("sigstore", f"{judge}: " + ", ".join(f"{got.count(v)} {v}" for v in dict.fromkeys(got)))
        if "assay" in present:
            pairs = [(row[name, "cosign"].verdict, row[name, "assay"].verdict) for _, row, name in answers]
            only_we = sum(assay == ACCEPT != cosign for cosign, assay in pairs)
            only_cosign = sum(cosign == ACCEPT != assay for cosign, assay in pairs)
            self.report.note("sigstore", f"{len(pairs)} answers, {only_we} where only Assay accepts, {only_cosign} where only cosign does")


def expected(case, judge):
    return {"cosign": case.cosign, "assay": case.assay, "verify": case.command or case.assay}[judge]


def cell(case, judge, judgement):
    if judgement is None:
        return "-"
    mark = MARKS.get(judgement.verdict, "?")
    return mark if judgement.verdict == expected(case, judge) else f"{mark} !!"
