"""Collects the results of all checks; prints them as they come, and as a table at the end."""

import time


class Report:
    def __init__(self):
        self.rows = {}     # situation -> {column -> [passed, failed]}
        self.failures = []
        self.notes = []    # figures, printed once more at the end
        self.began = time.monotonic()

    def check(self, column, situation, what, problem, quiet=False):
        """One result. `problem` is empty when all is well; `quiet` is for those that come by the hundred."""
        counts = self.rows.setdefault(situation, {}).setdefault(column, [0, 0])
        counts[bool(problem)] += 1
        if quiet and not problem:
            return
        verdict = "FAIL" if problem else "pass"
        print(f"{time.monotonic() - self.began:6.1f}s  {verdict}  {column:10} {situation:46} {what}", flush=True)
        if problem:
            self.failures.append((column, situation, what))
            print("    " + problem.replace("\n", "\n    "), flush=True)

    def note(self, column, text):
        """A figure: nothing is decided by it. What is indented is a detail and not repeated at the end."""
        print(f"{time.monotonic() - self.began:6.1f}s  note  {column:10} {text}", flush=True)
        if not text.startswith(" "):
            self.notes.append((column, text))

    def table(self):
        columns = list(dict.fromkeys(column for row in self.rows.values() for column in row))
        print("\n" + " " * 46 + "".join(f"{column:>11}" for column in columns))
        for situation, row in self.rows.items():
            print(f"{situation:46}" + "".join(f"{cell(row.get(column)):>11}" for column in columns))

    def close(self):
        """Prints the table and the totals; gives the exit code."""
        self.table()
        print()
        for column, text in self.notes:
            print(f"{column}: {text}")
        for column, situation, what in self.failures:
            print(f"FAIL  {column}: {situation}: {what}")
        counts = [counts for row in self.rows.values() for counts in row.values()]
        passed, failed = sum(c[0] for c in counts), sum(c[1] for c in counts)
        print(f"\n{passed} passed, {failed} failed")
        return 0 if passed and not failed else 1


def cell(counts):
    if not counts:
        return "-"
    passed, failed = counts
    return f"FAIL {passed}/{passed + failed}" if failed else f"PASS {passed}"
