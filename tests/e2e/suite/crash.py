"""`kill -9` in the middle of fetches, again and again, on one cache folder.

Each cycle: clients pull over a slow line, assay is killed at a random moment and started again on the
same folder. Then must hold:

  nothing bad      every file in blobs/ is what its name says; every answer is right or an error
  nothing lost     with the upstream down, whatever lay in blobs/ at the kill, and every manifest that
                   a client had received, is served
  nothing stray    the spool folder is empty, the ledger is whole
  all well         with the upstream back, everything can be pulled

A client may have the last byte of a layer in the instant before the layer is published in blobs/ (the
bytes are checked and on disk, the rename is next). A kill in between costs one more fetch. Such layers
are counted, not failed.

    CRASH_CYCLES=1000 tests/e2e/run --only crash     more than the usual 50
    CRASH_SEED=1234                                  the same moments again
"""

import hashlib
import http.client
import os
import random
import shutil
import sqlite3
import threading
import time

import bulk
import images
from images import TAG
from registries import OCI, Registry
from throttle import Throttle
from watch import MIB

CYCLES = int(os.environ.get("CRASH_CYCLES", "50"))
LINE = "127.0.0.1:5003"
RATE = 60 * MIB             # bytes a second, so that the 60 MiB of an image take a second
LATEST = 1.2                # seconds after the start of the pulls
LAYERS = [[1, 2, 4, 8, 16, 30], [3, 5, 12]]   # MiB, for each image
AT_ONCE = 3                 # layers that one client fetches at a time, as docker does


class Crash:
    def __init__(self, workspace, make_assay, registry, report):
        self.workspace, self.report = workspace, report
        key = images.key_pair(workspace, "crash")
        layouts = [images.BUNDLE, images.CLASSIC]
        made = [
            bulk.make(workspace, registry, f"crash{number}", [size * MIB for size in sizes], key, layout)
            for number, (sizes, layout) in enumerate(zip(LAYERS, layouts))
        ]
        self.images = made
        self.line = Throttle(LINE, registry.address)
        self.upstream = registry.name
        behind_line = Registry(registry.name, LINE, OCI, registry.log)
        self.assay = make_assay([behind_line], key.with_suffix(".pub"))
        self.seed = int(os.environ.get("CRASH_SEED") or random.randrange(10_000))
        self.random = random.Random(self.seed)
        self.counts = dict.fromkeys(["mid-fetch", "fetches cut", "kept", "manifests kept", "finished, not yet published", "pulled"], 0)
        self.received = set()   # manifests that a client had since the cache folder was last empty
        self.problems = []

    def all(self):
        self.report.note("crash", f"{CYCLES} kills, seed {self.seed}")
        try:
            self.assay.start_empty()
            for number in range(CYCLES):
                self.cycle(number)
                if self.problems:
                    break
        except Exception as error:
            self.problems.append(f"{type(error).__name__}: {error}")
        finally:
            self.assay.stop()
            self.line.close()
        counts = self.counts
        self.report.note("crash", ", ".join(f"{what}: {count}" for what, count in counts.items()))
        self.check(f"{CYCLES} kills: nothing bad, nothing lost", "\n".join(self.problems))
        if not self.problems:
            enough = counts["mid-fetch"] >= CYCLES // 2
            self.check("most kills hit a running fetch", "" if enough else f"{counts['mid-fetch']} of {CYCLES}")

    def cycle(self, number):
        finished = self.pull_until_killed()
        published = self.files()
        self.counts["finished, not yet published"] += len(finished - set(published))

        self.line.down = True
        self.assay.start_again()
        where = f"cycle {number + 1} (seed {self.seed}): "
        self.expect(where + "the spool is empty", os.listdir(self.assay.cache / "spool"), [])
        for digest, path in published.items():
            self.expect(where + "a file is what its name says", sha256(path) if path.exists() else "gone", digest)
        self.expect(where + "the ledger is whole", self.integrity(), "ok")
        self.served_from_the_cache(where, published)

        self.line.down, self.line.rate = False, None
        for image in self.images:
            pull = Pull(self.assay.address, self.upstream, image)
            self.problems += [f"{where}full pull: {problem}" for problem in pull.whole() + pull.bad]
            self.received |= pull.complete["manifests"]
            self.counts["pulled"] += 1
        self.take_something_away()

    def pull_until_killed(self):
        """Clients pull in a loop until assay is killed; gives the blobs that they had in full by then."""
        self.line.rate = RATE
        pulls = [Pull(self.assay.address, self.upstream, image) for image in self.images]
        threads = [threading.Thread(target=pull.until_it_fails) for pull in pulls]
        for thread in threads:
            thread.start()
        self.wait_for_the_moment()
        cut = len(self.line.running)
        self.assay.kill()
        for thread in threads:
            thread.join()
        self.counts["mid-fetch"] += cut > 0
        self.counts["fetches cut"] += cut
        self.problems += [f"while pulling: {problem}" for pull in pulls for problem in pull.bad]
        self.received.update(*(pull.complete["manifests"] for pull in pulls))
        return set().union(*(pull.complete["blobs"] for pull in pulls))

    def wait_for_the_moment(self):
        """Anywhere in the pulls, or where most is written: as manifests come, or as a layer is complete."""
        began, ended = time.monotonic(), self.line.ended + self.random.randint(1, 3)
        moment, delay = self.random.uniform(0.02, LATEST), self.random.uniform(0, 0.02)
        if not self.received:
            moment = min(moment, self.random.uniform(0.01, 2 * LATEST) / 4)
        at_an_end = self.random.random() < 0.5
        while time.monotonic() - began < moment:
            if at_an_end and self.line.ended >= ended:
                time.sleep(delay)
                return
            time.sleep(0.001)

    def served_from_the_cache(self, where, published):
        asked = self.line.asked
        for image in self.images:
            pull, manifests = Pull(self.assay.address, self.upstream, image), {image.index, image.manifest}
            for reference in manifests & self.received:
                self.expect(f"{where}manifest {reference} is kept", pull.get("manifests", reference), "right")
                self.counts["manifests kept"] += 1
            if not manifests <= self.received:
                continue    # nobody had the proof in full yet, so nothing could be fetched under it
            for blob in image.blobs:
                if blob.digest in published:
                    self.expect(f"{where}blob {blob.digest} is kept", pull.get("blobs", blob.digest), "right")
                    self.counts["kept"] += 1
        self.expect(where + "the upstream is not asked for it", self.line.asked, asked)

    def take_something_away(self):
        """Makes room for the next fetches: some layers, or now and then everything."""
        if self.random.random() < 0.3:
            self.assay.stop()
            shutil.rmtree(self.assay.cache)
            self.received.clear()
            self.assay.start_again()
            return
        layers = [layer.digest for image in self.images for layer in image.layers]
        for digest in self.random.sample(layers, self.random.randint(2, len(layers))):
            self.path(digest).unlink(missing_ok=True)

    def files(self):
        """What lies in blobs/ now, by digest."""
        found = (self.assay.cache / "blobs/sha256").glob("*/*")
        return {f"sha256:{path.name}": path for path in found}

    def path(self, digest):
        return self.assay.cache / "blobs/sha256" / digest[7:9] / digest[7:]

    def integrity(self):
        connection = sqlite3.connect(f"file:{self.assay.cache}/ledger.sqlite?mode=ro", uri=True)
        try:
            return connection.execute("PRAGMA integrity_check").fetchone()[0]
        finally:
            connection.close()

    def expect(self, what, got, wanted):
        if got != wanted:
            self.problems.append(f"{what}: {got!r} instead of {wanted!r}")

    def check(self, situation, problem):
        self.report.check("crash", situation, "", problem)


class Pull:
    """One image, as a client pulls it. Every complete answer is hashed."""

    def __init__(self, address, upstream, image):
        self.address, self.image, self.prefix = address, image, f"/v2/{upstream}/"
        self.complete = {"manifests": set(), "blobs": set()}
        self.bad = []

    def get(self, kind, reference):
        """"right", or what came instead."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            connection.request("GET", self.prefix + self.image.path(kind, reference))
            answer = connection.getresponse()
            digest = hashlib.sha256()
            while piece := answer.read(MIB):
                digest.update(piece)
        except (OSError, http.client.HTTPException) as error:
            return f"cut off: {type(error).__name__}"
        finally:
            connection.close()
        if answer.status != 200:
            return f"status {answer.status}"
        if answer.length:
            return "cut off: short"
        digest = f"sha256:{digest.hexdigest()}"
        if digest != (self.image.index if reference == TAG[1:] else reference):
            self.bad.append(f"{kind}/{reference} came complete, but as {digest}")
            return "bad"
        self.complete[kind].add(digest)
        return "right"

    def whole(self):
        """Pulls everything; gives what went wrong."""
        problems = []
        for reference in (TAG[1:], self.image.index, self.image.manifest):
            got = self.get("manifests", reference)
            if got != "right":
                return [f"manifest {reference}: {got}"]
        waiting = list(self.image.blobs)

        def fetch():
            while True:
                try:
                    blob = waiting.pop()
                except IndexError:
                    return
                got = self.get("blobs", blob.digest)
                if got != "right":
                    problems.append(f"blob {blob.digest}: {got}")

        threads = [threading.Thread(target=fetch) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return problems

    def until_it_fails(self):
        while not self.whole():
            pass


def sha256(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
