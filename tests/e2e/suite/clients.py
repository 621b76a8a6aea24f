"""The real clients, each behind the same few verbs, each in folders of its own.

fresh()        storage becomes empty (daemons start again on new folders)
pull(image)    asks for it, gives the Outcome
run(image)     runs the pulled image without network (only where `runs` is true)
remove(image)  forgets the image as a user would (`docker rmi`), caches of the client stay
"""

from dataclasses import dataclass


@dataclass
class Route:
    """Where clients are pointed: at assay, or (control run) at the registries themselves."""

    addresses: dict  # upstream name -> "host:port" or "host:port/prefix", for clients that write it in the image name
    urls: dict       # upstream name -> "http://host:port", for hosts.toml

    def name(self, image, reference):
        return f"{self.addresses[image.upstream]}/{image.repository}{reference}"


class Client:
    name, runs = "", False

    def __init__(self, workspace, route):
        self.workspace, self.route = workspace, route
        self.generation = 0
        self.folder = None

    def fresh(self):
        self.stop()
        if self.folder:
            self.workspace.run("rm", "-rf", self.folder)
        self.generation += 1
        self.folder = self.workspace.folder(f"{self.name}{self.generation}")

    def stop(self):
        pass


class Skopeo(Client):
    name = "skopeo"

    def pull(self, image, reference):
        target = self.folder / f"{image.upstream}-{image.repository}"
        return self.workspace.run(
            "skopeo", "copy", "--src-tls-verify=false", f"docker://{self.route.name(image, reference)}", f"dir:{target}"
        )

    def remove(self, image, reference):
        self.workspace.must("rm", "-r", self.folder / f"{image.upstream}-{image.repository}")


class Podman(Client):
    name, runs = "podman", True

    def podman(self, *words):
        storage = ["--root", self.folder / "root", "--runroot", self.folder / "run", "--tmpdir", self.folder / "tmp"]
        machine = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=runc"]
        return self.workspace.run("podman", *storage, *machine, *words)

    def pull(self, image, reference):
        return self.podman("pull", "--tls-verify=false", self.route.name(image, reference))

    def run(self, image, reference):
        return self.podman("run", "--rm", "--network=none", "--pull=never", self.route.name(image, reference))

    def remove(self, image, reference):
        self.podman("rmi", "--force", self.route.name(image, reference))


class Containerd(Client):
    """containerd, asked through ctr, which reads hosts.toml."""

    path = program = config_version = None
    daemon = None

    def fresh(self):
        super().fresh()
        config = self.folder / "config.toml"
        config.write_text(
            f'version = {self.config_version}\n'
            f'root = "{self.folder}/root"\n'
            f'state = "{self.folder}/state"\n'
            f'[grpc]\naddress = "{self.socket}"\n'
        )
        for upstream, url in self.route.urls.items():
            hosts = self.workspace.folder(f"{self.folder.name}/hosts/{upstream}") / "hosts.toml"
            # `server` and [host] both: only then every version stays with us after a refusal.
            hosts.write_text(f'server = "{url}"\n[host."{url}"]\ncapabilities = ["pull", "resolve"]\n')
        self.daemon = self.workspace.start(
            self.name, [self.bin("containerd"), "--config", config], lambda: self.ctr("version").ok, PATH=self.path
        )

    @property
    def socket(self):
        return self.folder / "c.sock"

    def bin(self, program):
        return f"{self.program}/{program}"

    def ctr(self, *words):
        return self.workspace.run(self.bin("ctr"), "--address", self.socket, *words, PATH=self.path)

    def pull(self, image, reference):
        return self.ctr("images", "pull", "--hosts-dir", self.folder / "hosts", f"{image}{reference}")

    def remove(self, image, reference):
        self.ctr("images", "remove", "--sync", f"{image}{reference}")

    def stop(self):
        if self.daemon:
            self.daemon.stop()


class Containerd16(Containerd):
    name, config_version, program = "ctr-1.6", 2, "/usr/bin"

    def __init__(self, workspace, route):
        super().__init__(workspace, route)
        self.path = workspace.env["PATH"]


class Containerd24(Containerd):
    name, config_version = "ctr-2.4", 3

    def __init__(self, workspace, route):
        super().__init__(workspace, route)
        self.program = workspace.tools / "containerd2"
        self.path = workspace.path_with("containerd2", "runc")


class Docker(Client):
    """dockerd without any network of its own; images are named by address and prefix."""

    runs = True
    path = program = store = None
    daemon = None

    def fresh(self):
        super().fresh()
        folder = self.folder
        config = folder / "daemon.json"
        config.write_text("{}")
        argv = [self.program, "--config-file", config, "--data-root", folder / "data", "--exec-root", folder / "exec"]
        argv += ["--host", self.host, "--pidfile", folder / "pid", "--iptables=false", "--ip6tables=false", "--bridge=none"]
        self.daemon = self.workspace.start(self.name, argv, lambda: self.docker("info").ok, PATH=self.path)
        driver = self.docker("info", "--format", "{{.DriverStatus}}").text
        if ("containerd.snapshotter" in driver) != (self.store == "containerd"):
            raise RuntimeError(f"{self.name} does not use the {self.store} store: {driver}")

    @property
    def host(self):
        return f"unix://{self.folder}/d.sock"

    def docker(self, *words):
        return self.workspace.run("docker", "--host", self.host, *words)

    def pull(self, image, reference):
        return self.docker("pull", self.route.name(image, reference))

    def run(self, image, reference):
        return self.docker("run", "--rm", "--network=none", "--pull=never", self.route.name(image, reference))

    def remove(self, image, reference):
        self.docker("rmi", "--force", self.route.name(image, reference))

    def stop(self):
        if self.daemon:
            self.daemon.stop()


class Docker20(Docker):
    name, store, program = "docker-20", "classic", "/usr/sbin/dockerd"

    def __init__(self, workspace, route):
        super().__init__(workspace, route)
        self.path = workspace.env["PATH"]


class Docker29(Docker):
    name, store = "docker-29", "containerd"

    def __init__(self, workspace, route):
        super().__init__(workspace, route)
        self.program = workspace.tools / "dockerd29/dockerd"
        # Its own containerd, shim and runc must come before Debian's.
        self.path = workspace.path_with("dockerd29", "containerd2", "runc")


ALL = [Skopeo, Podman, Containerd16, Containerd24, Docker20, Docker29]
