"""What a process takes of the machine while something happens."""

import os
import threading
import time
from pathlib import Path

MIB = 1024 * 1024
TICK = os.sysconf("SC_CLK_TCK")


def status(pid, field):
    """A memory field of /proc/PID/status in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def cpu(pid):
    """Seconds of CPU so far, user and system."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICK


class Watch:
    """`with Watch(pid) as seen:` samples every 50 ms; afterwards `seen` has the figures in MiB and seconds."""

    def __init__(self, pid):
        self.pid = pid
        self.anonymous, self.done = [], threading.Event()

    def __enter__(self):
        # Forgets the peak so far (start-up), so that the kernel's own high-water mark is this work's.
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        self.idle, self.idle_anonymous = status(self.pid, "VmRSS") / MIB, status(self.pid, "RssAnon") / MIB
        self.cpu_before, self.began = cpu(self.pid), time.monotonic()
        self.thread = threading.Thread(target=self._sample)
        self.thread.start()
        return self

    def _sample(self):
        while not self.done.wait(0.05):
            self.anonymous.append(status(self.pid, "RssAnon") / MIB)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.anonymous.append(status(self.pid, "RssAnon") / MIB)
        self.peak = status(self.pid, "VmHWM") / MIB
        self.cpu = cpu(self.pid) - self.cpu_before

    @property
    def growth(self):
        return self.peak - self.idle

    def memory(self):
        half = len(self.anonymous) // 2
        return (
            f"RSS idle {self.idle:.1f} peak {self.peak:.1f} (+{self.growth:.1f}) MiB, anonymous {self.idle_anonymous:.1f} "
            f"-> {max(self.anonymous[:half] or [0]):.1f} in the first half, {max(self.anonymous[half:]):.1f} in the second"
        )
