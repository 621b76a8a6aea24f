"""Assay itself, as a user would start it: `assay serve -c proxy.toml`."""

import shutil

from clients import Route
from registries import answers

ADDRESS, ADMIN = "127.0.0.1:5000", "127.0.0.1:5009"


class Assay:
    def __init__(self, workspace, binary, registries, public_key):
        self.workspace, self.binary = workspace, binary
        self.registries, self.public_key = registries, public_key
        self.generation = 0
        self.daemon = self.config = None

    @property
    def route(self):
        return Route(
            {registry.name: f"{ADDRESS}/{registry.name}" for registry in self.registries},
            {registry.name: f"http://{ADDRESS}" for registry in self.registries},
        )

    @property
    def address(self):
        return ADDRESS

    @property
    def pid(self):
        return self.daemon.process.pid

    @property
    def cache(self):
        return self.workspace.root / f"cache{self.generation}"

    def start_empty(self, forget_last=False):
        """A new cache folder: assay has seen nothing yet. `forget_last` removes the folder before."""
        self.stop()
        if forget_last:
            shutil.rmtree(self.cache, ignore_errors=True)
        self.generation += 1
        self.config = self.workspace.root / "proxy.toml"
        self.config.write_text(self._configuration(self.workspace.folder(self.cache.name)))
        self._start()

    def restart(self):
        """The same cache folder: what it learned must have survived."""
        self.stop()
        self._start()

    def kill(self):
        """SIGKILL: no chance to clean up."""
        self.daemon.process.kill()
        self.daemon.process.wait()

    def start_again(self):
        """After `kill` or `stop`, on the same cache folder."""
        self._start()

    def stop(self):
        if self.daemon:
            self.daemon.stop()

    def _start(self):
        argv = [self.binary, "serve", "-c", self.config]
        self.daemon = self.workspace.start("assay", argv, lambda: answers(f"http://{ADMIN}/readyz"))

    def _configuration(self, cache):
        upstreams = "".join(f'[upstream."{r.name}"]\nurl = "http://{r.address}"\n' for r in self.registries)
        names = ", ".join(f'"{r.name}/**"' for r in self.registries)
        policy = f"""[[policy]]
name = "e2e"
images = [{names}]
mode = "enforce"
tlog = "off"
[[policy.signer]]
key = "{self.public_key}"
"""
        return self._frame(cache, self.registries[0].name, upstreams + policy)

    def _frame(self, cache, default_upstream, tables):
        return f"""version = 1
[server]
listen = ["{ADDRESS}"]
default_upstream = "{default_upstream}"
{tables}[cache]
dir = "{cache}"
[admin]
listen = "{ADMIN}"
[log]
format = "json"
"""


class NoAssay:
    """The control run: clients go straight to the registries, so even the bad images must come through."""

    def __init__(self, registries):
        self.route = Route({r.name: r.address for r in registries}, {r.name: f"http://{r.address}" for r in registries})

    def start_empty(self):
        pass

    restart = stop = start_empty
