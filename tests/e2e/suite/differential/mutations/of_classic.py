"""Changes of annotations in the classic layout."""

from ..image import SIGNATURE
from ..spots import CERTIFICATE, CLASSIC_SIGNATURE, LOG, TIMESTAMP
from .kinds import mutation, need

CHAIN = "dev.sigstore.cosign/chain"


def annotations_of(image):
    return image.of_kind(SIGNATURE)[0].layer(0).get("annotations", {})


@mutation("annotation taken, emptied or spoilt", "annotations", weight=5)
def _(spot, rng, _others):
    found = spot.json()
    key = rng.choice([LOG, CERTIFICATE, CLASSIC_SIGNATURE, CHAIN, TIMESTAMP])
    what = rng.choice(["taken", "empty", "blank", "null as text", "braces", "blanks around", "doubled"])
    old = found.get(key, "")
    if what == "taken":
        need(key in found)
        del found[key]
    else:
        found[key] = {"empty": "", "blank": " ", "null as text": "null", "braces": "{}", "blanks around": f"\n {old}\n", "doubled": old + old}[what]
    spot.write_json(found)
    return f"{key.rsplit('/')[-1]} {what}"


@mutation("annotation of another signature", "annotations", weight=8)
def _(spot, rng, others):
    found, theirs = spot.json(), annotations_of(rng.choice([other for other in others if other.of_kind(SIGNATURE)]))
    keys = [key for key in theirs if theirs[key] and theirs[key] != found.get(key)]
    need(keys)
    keys = rng.sample(keys, rng.randint(1, len(keys)))
    found.update((key, theirs[key]) for key in keys)
    spot.write_json(found)
    return ", ".join(key.rsplit("/")[-1] for key in keys)


@mutation("certificate's PEM", "annotations", weight=4)
def _(spot, rng, others):
    found = spot.json()
    pem = found[CERTIFICATE]
    need("BEGIN" in pem)
    theirs = [annotations_of(o).get(CERTIFICATE, "") for o in others if o.of_kind(SIGNATURE)]
    other = rng.choice([text for text in theirs if text])
    what, changed = rng.choice([
        ("text before", "x\n" + pem), ("text behind", pem + "x"), ("CRLF", pem.replace("\n", "\r\n")), ("twice", pem + pem),
        ("another behind", pem + other), ("another before", other + pem), ("no line end", pem.rstrip("\n")),
        ("label", pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE")), ("headers", pem.replace("-----\n", "-----\nA: b\n\n", 1)),
        ("one line", pem.replace("\n", "")), ("long lines", "-----BEGIN CERTIFICATE-----\n" + "".join(pem.split("\n")[1:-2]) + "\n-----END CERTIFICATE-----\n"),
        ("blanks in lines", pem.replace("\nM", "\n M", 1)), ("lower case", pem.replace("BEGIN", "begin")), ("no end", pem.split("-----END")[0]),
        ("empty", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), ("key before", "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n" + pem),
    ])
    found[CERTIFICATE] = changed
    spot.write_json(found)
    return what


@mutation("chain annotation", "annotations", weight=2)
def _(spot, rng, others):
    found = spot.json()
    theirs = [annotations_of(o).get(CERTIFICATE, "") for o in others if o.of_kind(SIGNATURE)]
    found[CHAIN] = rng.choice([rng.choice([text for text in theirs if text]), "x", found.get(CERTIFICATE, "x"), "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"])
    spot.write_json(found)
    return repr(found[CHAIN][:30])


@mutation("annotation that means nothing", "annotations", neutral=True)
def _(spot, rng, _others):
    found = spot.json()
    found[rng.choice(["x", "org.opencontainers.image.created", "Dev.sigstore.cosign/other", ""])] = rng.choice(["", "1", "\n"])
    spot.write_json(found)
    return "added"
