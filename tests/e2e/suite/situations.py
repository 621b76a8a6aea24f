"""What is tried, and what must come of it."""

import re

from images import TAG


class Situations:
    """Everything one client goes through, against an assay that starts with an empty cache."""

    def __init__(self, client, assay, images, registries, report, control):
        self.client, self.assay, self.images = client, assay, images
        self.registries = {registry.name: registry for registry in registries}
        self.report, self.control = report, control

    def all(self):
        try:
            self.good_images()
            self.bad_images()
        except Exception as error:  # a program that does not start, for instance: the rest goes untested
            self.report.check(self.client.name, "ran to the end", "", f"{type(error).__name__}: {error}")
        finally:
            self.client.stop()
            self.assay.stop()

    def good_images(self):
        self.assay.start_empty()
        self.client.fresh()
        for image in self.images.signed:
            self.pulls("by tag", image, TAG)
        for image in self.images.signed:
            self.pulls_hot(image)
        self.client.fresh()
        for image in self.images.signed:
            self.pulls("by index digest", image, image.index)

        # The article's case: only the index is signed, and this client never asks for the index.
        self.assay.start_empty()
        self.client.fresh()
        for image in self.images.signed:
            self.another_client_sees_the_index(image)
            self.pulls("by platform digest", image, image.platform)
        self.assay.restart()
        self.client.fresh()
        for image in self.images.signed:
            self.pulls("the same after a restart of assay", image, image.platform)

    def bad_images(self):
        self.client.fresh()
        # Pulled first, so that assay knows a good index in the very repositories of the bad ones.
        for image in self.images.originals:
            self.pulls("index digest of a replaced tag", image, image.index)
        for situation, image, reference in self.images.refused:
            outcome = self.client.pull(image, reference)
            if self.control:
                self.report.check(self.client.name, f"comes through: {situation}", str(image), must_work(outcome))
            else:
                self.report.check(self.client.name, f"refused: {situation}", str(image), must_be_refused(outcome))

    def pulls(self, situation, image, reference):
        problem = must_work(self.client.pull(image, reference))
        self.report.check(self.client.name, situation, str(image), problem)
        if self.client.runs:
            ran = "was not pulled" if problem else must_print(self.client.run(image, reference), image.greeting)
            self.report.check(self.client.name, f"{situation}, run", str(image), ran)
        return problem

    def pulls_hot(self, image):
        """Everything is in the cache: the upstream is asked for nothing but where the tag points now."""
        registry = self.registries[image.upstream]
        self.client.remove(image, TAG)
        mark = registry.mark()
        failed = self.pulls("again, after removing it", image, TAG)
        if not self.control:
            problem = "was not pulled" if failed else only_head_of_tag(registry, mark, image)
            self.report.check(self.client.name, "again: upstream sees HEAD of tag only", str(image), problem)

    def another_client_sees_the_index(self, image):
        if self.control:
            return
        name = self.assay.route.name(image, TAG)
        self.client.workspace.must("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}")


def cosign_through_assay(workspace, assay, images, report):
    """After a pull of one platform only, the index and its signatures must still be whole for cosign."""
    try:
        assay.start_empty()
        for image in images.signed:
            target = workspace.folder("cosign", empty=True)
            name = assay.route.name(image, "")
            skopeo = ["skopeo", "copy", "--override-os=linux", "--override-arch=amd64", "--src-tls-verify=false"]
            problem = must_work(workspace.run(*skopeo, f"docker://{name}{TAG}", f"dir:{target}"))
            for reference in (TAG, image.index):
                problem = problem or must_work(cosign_verify(workspace, images, f"{name}{reference}"))
            report.check("cosign", "verifies after an amd64-only pull", str(image), problem)
    except Exception as error:
        report.check("cosign", "ran to the end", "", f"{type(error).__name__}: {error}")
    finally:
        assay.stop()


def cosign_verify(workspace, images, name):
    cosign = workspace.tools / "cosign/cosign"
    flags = ["--allow-http-registry", "--insecure-ignore-tlog"]
    return workspace.run(cosign, "verify", "--key", images.public_key, *flags, name)


def control_of_images(workspace, images, registries, report):
    """Before assay comes in: the registries hand out the bad images too, and cosign judges as we expect."""
    addresses = {registry.name: registry.address for registry in registries}
    for image in images.signed:
        outcome = cosign_verify(workspace, images, f"{addresses[image.upstream]}/{image.repository}{image.index}")
        report.check("registry", "cosign accepts it", str(image), must_work(outcome))
    for situation, image, reference in images.refused:
        name = f"{addresses[image.upstream]}/{image.repository}{reference}"
        target = workspace.folder("control", empty=True)
        outcome = workspace.run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{target}")
        report.check("registry", "hands it out", f"{image} ({situation})", must_work(outcome))
        refused = "" if not cosign_verify(workspace, images, name).ok else "cosign accepts this image"
        report.check("registry", "cosign refuses it", f"{image} ({situation})", refused)


# Judgements: an empty text, or what is wrong.

def must_work(outcome):
    return "" if outcome.ok else f"exit code {outcome.code}: {outcome.text}"


def must_print(outcome, greeting):
    return must_work(outcome) or ("" if outcome.text == greeting else f"printed {outcome.text!r}, not {greeting!r}")


def must_be_refused(outcome):
    if outcome.ok:
        return f"came through: {outcome.text}"
    # From the JSON body (docker-29: "error from registry"), or from the HTTP status line of a HEAD (containerd).
    if re.search(r"(denied: |error from registry: |403 )assay: ", outcome.text):
        return ""
    return f"failed, but without assay's refusal: {outcome.text}"


def only_head_of_tag(registry, mark, image):
    allowed = f"HEAD /v2/{image.repository}/manifests/{TAG[1:]}"
    asked = registry.asked_since(mark)
    return "" if set(asked) <= {allowed} else "upstream was asked:\n" + "\n".join(asked)
