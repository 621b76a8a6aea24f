"""Changes of log entries: numbers, times, checkpoints."""

from ..spots import dotted, get, leaves, put
from .kinds import mutation, need

NUMBERS = {"logIndex", "integratedTime", "treeSize"}


@mutation("number in a log entry", "json", weight=5)
def _(spot, rng, _others):
    document = spot.json()
    found = [(path, value) for path, value in leaves(document) if path[-1] in NUMBERS]
    need(found)
    path, value = rng.choice(found)
    number = int(value)
    changed = rng.choice([
        number + 1, number - 1, -number - 1, 0, 2**63 - 1, 2**63, 2**64, f"0{number}", f"+{number}", f" {number}", f"{number}.0",
        f"{number}e0", f"0x{number:x}", number + 2**32, number + 86400 * 365, number - 86400 * 365,
    ])
    if isinstance(value, str):
        changed = str(changed)
    need(changed != value)
    put(document, path, changed)
    spot.write_json(document)
    return f"{dotted(path)}: {value!r} -> {changed!r}"


@mutation("kind or version of a log entry", "bundle", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    entry = rng.choice(document["verificationMaterial"]["tlogEntries"])
    field = rng.choice(["kind", "version"])
    values = {"kind": ["dsse", "hashedrekord", "intoto", "rekord", "x", ""], "version": ["0.0.1", "0.0.2", "0.0.3", "1.0.0", ""]}[field]
    value = rng.choice(values)
    need(value != entry["kindVersion"][field])
    entry["kindVersion"][field] = value
    spot.write_json(document)
    return f"{field} = {value!r}"


@mutation("proofs of a log entry taken", "bundle", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    entry = rng.choice(document["verificationMaterial"]["tlogEntries"])
    parts = [part for part in ("inclusionProof", "inclusionPromise", "integratedTime", "canonicalizedBody", "kindVersion") if part in entry]
    need(parts)
    gone = rng.sample(parts, rng.randint(1, len(parts)))
    for part in gone:
        del entry[part]
    spot.write_json(document)
    return ", ".join(gone)


@mutation("log entries: another number of them", "bundle", weight=3)
def _(spot, rng, others):
    material = (document := spot.json())["verificationMaterial"]
    entries = material["tlogEntries"]
    theirs = foreign_entries(rng, others)
    what = rng.choice(["none", "twice", "another behind", "another before", "six"])
    material["tlogEntries"] = {
        "none": [], "twice": entries * 2, "another behind": entries + theirs, "another before": theirs + entries, "six": entries * 6,
    }[what]
    spot.write_json(document)
    return what


def foreign_entries(rng, others):
    from .of_bundle import bundle_of
    found = [get(bundle_of(other), ["verificationMaterial", "tlogEntries"]) for other in others if other.of_kind("bundle")]
    return rng.choice([entries for entries in found if entries])[:1]


@mutation("checkpoint: a line", "checkpoint", weight=4)
def _(spot, rng, _others):
    lines = spot.read().decode().split("\n")   # origin, size, root hash, "", signature
    what = rng.choice([
        "origin", "origin with blank", "size + 1", "size with zero", "root", "extension line", "empty line",
        "signature taken", "signature twice", "name in signature", "hyphen for dash", "unknown signature besides", "key hint",
    ])
    changed = list(lines)
    if what == "origin":
        changed[0] = "rekor.evil.test"
    elif what == "origin with blank":
        changed[0] += " "
    elif what == "size + 1":
        changed[1] = str(int(lines[1]) + 1)
    elif what == "size with zero":
        changed[1] = "0" + lines[1]
    elif what == "root":
        changed[2] = "A" + lines[2][1:]
    elif what == "extension line":
        changed.insert(3, "Timestamp: 1")
    elif what == "empty line":
        changed.insert(rng.choice([0, 3, len(lines)]), "")
    elif what == "signature taken":
        changed = changed[:4]
    elif what == "signature twice":
        changed.insert(4, lines[4])
    elif what == "name in signature":
        changed[4] = lines[4].replace("rekor", "other", 1)
    elif what == "hyphen for dash":
        changed[4] = lines[4].replace("—", "-")
    elif what == "unknown signature besides":
        changed.insert(rng.choice([4, 5]), "— witness.test " + "AAAA" * 17)
    elif what == "key hint":
        name, text = lines[4].rsplit(" ", 1)
        changed[4] = f"{name} AAAA{text[4:]}"
    spot.write("\n".join(changed).encode())
    return what


@mutation("checkpoint: line ends", "checkpoint", weight=2)
def _(spot, rng, _others):
    text = spot.read().decode()
    changed = rng.choice([text.replace("\n", "\r\n"), text.rstrip("\n"), text + "\n", "\n" + text, text + "x", text.replace("\n", "\n\n", 1)])
    spot.write(changed.encode())
    return repr(changed[:8] + "…" + changed[-4:])
