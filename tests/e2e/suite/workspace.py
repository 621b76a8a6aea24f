"""The temporary folder of one run, and the programs that run in it."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Outcome:
    """What a program that ran to its end said (stdout and stderr together)."""

    code: int
    text: str

    @property
    def ok(self):
        return self.code == 0


class Workspace:
    def __init__(self, root, tools):
        self.root = Path(root)
        self.tools = Path(tools)
        self.daemons = []
        # Nobody's logins, proxies or CI identity may change what a program does.
        keep = ("LANG", "LC_ALL", "TERM")
        self.env = {name: os.environ[name] for name in keep if name in os.environ}
        self.env |= {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder("home")),
            "TMPDIR": str(self.folder("tmp")),
            "DOCKER_CONFIG": str(self.folder("home/docker")),
            "COSIGN_PASSWORD": "",
        }
        (self.root / "home/docker/config.json").write_text("{}")  # podman wants it to exist

    def folder(self, name, empty=False):
        path = self.root / name
        if empty:
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def path_with(self, *tools):
        """A PATH where these tool folders come first: each daemon finds its own shim and runc."""
        return ":".join([str(self.tools / tool) for tool in tools] + [self.env["PATH"]])

    def run(self, *argv, timeout=90, **env):
        try:
            done = subprocess.run(
                [str(word) for word in argv],
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode(errors="replace")
            return Outcome(124, f"{said}\n[no end after {timeout} s]")
        return Outcome(done.returncode, done.stdout.decode(errors="replace").strip())

    def must(self, *argv, **options):
        """For steps that prepare something: a failure ends the run."""
        done = self.run(*argv, **options)
        if not done.ok:
            raise RuntimeError(f"{' '.join(map(str, argv))}\nended with {done.code}: {done.text}")
        return done.text

    def start(self, name, argv, ready, **env):
        daemon = Daemon(name, argv, ready, self.root / f"{name}.log", self.env | env)
        self.daemons.append(daemon)
        return daemon

    def close(self):
        for daemon in reversed(self.daemons):
            daemon.stop()


class Daemon:
    """A server that we started; `ready` returns true once it answers."""

    def __init__(self, name, argv, ready, log, env):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.began_at = out.tell()  # the log of a restarted daemon goes on in the same file
            self.process = subprocess.Popen(
                [str(word) for word in argv],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 40
        while not ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{name} ended with {self.process.returncode} while starting\n{self.tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{name} is not ready after 40 s\n{self.tail()}")
            time.sleep(0.05)

    def tail(self, lines=15):
        said = self.log.read_bytes()[self.began_at:].decode(errors="replace")
        return "\n".join(said.splitlines()[-lines:])

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
