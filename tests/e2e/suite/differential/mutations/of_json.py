"""Changes of any JSON document."""

import json

from ..image import TWIN, dumped
from ..spots import dotted, drop, get, leaves, paths, put
from .kinds import mutation, need

RETYPED = [None, True, 0, -1, 1.5, "", "x", [], {}, [[]], {"x": 1}, "null", 2**63, 10**30]


def any_path(document, rng):
    found = list(paths(document))
    need(found)
    return rng.choice(found)


def any_key(document, rng):
    found = [path for path in paths(document) if isinstance(path[-1], str)]
    need(found)
    return rng.choice(found)


def holder(document, path):
    return get(document, path[:-1])


def rekeyed(holder, change):
    """The same members in the same order, under other keys."""
    members = list(holder.items())
    holder.clear()
    holder.update((change(key), value) for key, value in members)


@mutation("field dropped", "json", weight=6)
def _(spot, rng, _others):
    document = spot.json()
    path = any_path(document, rng)
    drop(document, path)
    spot.write_json(document)
    return dotted(path)


@mutation("field null", "json", weight=3)
def _(spot, rng, _others):
    document = spot.json()
    path = any_path(document, rng)
    put(document, path, None)
    spot.write_json(document)
    return dotted(path)


@mutation("field of another type", "json", weight=5)
def _(spot, rng, _others):
    document = spot.json()
    path, value = any_path(document, rng), rng.choice(RETYPED)
    need(get(document, path) != value)
    put(document, path, value)
    spot.write_json(document)
    return f"{dotted(path)} = {json.dumps(value)}"


@mutation("number and text exchanged", "json", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    found = [(p, v) for p, v in leaves(document) if type(v) is int or (isinstance(v, str) and v.isdigit())]
    need(found)
    path, value = rng.choice(found)
    put(document, path, int(value) if isinstance(value, str) else str(value))
    spot.write_json(document)
    return dotted(path)


@mutation("field in a list", "json", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    path = any_path(document, rng)
    put(document, path, [get(document, path)])
    spot.write_json(document)
    return dotted(path)


@mutation("key twice, alike", "json", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    path = any_key(document, rng)
    holder(document, path)[path[-1] + TWIN] = get(document, path)
    spot.write_json(document)
    return dotted(path)


@mutation("key twice, another value", "json", weight=3)
def _(spot, rng, _others):
    document = spot.json()
    path, value = any_key(document, rng), rng.choice(RETYPED)
    first = rng.random() < 0.5
    twin = path[-1] + TWIN
    if first:
        rekeyed(holder(document, path), lambda key: twin if key == path[-1] else key)
        holder(document, path)[path[-1]] = value
    else:
        holder(document, path)[twin] = value
    spot.write_json(document)
    return f"{dotted(path)}, {'the last' if first else 'the first'} is {json.dumps(value)}"


@mutation("key in other case", "json", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    path = any_key(document, rng)
    other = rng.choice([str.upper, str.lower, str.title, str.swapcase, lambda s: s[:1].swapcase() + s[1:]])(path[-1])
    need(other != path[-1])
    rekeyed(holder(document, path), lambda key: other if key == path[-1] else key)
    spot.write_json(document)
    return f"{dotted(path)} as {other}"


@mutation("key in other case besides", "json", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    path, value = any_key(document, rng), rng.choice(RETYPED)
    other = path[-1][:1].swapcase() + path[-1][1:]
    need(other != path[-1])
    holder(document, path)[other] = value
    spot.write_json(document)
    return f"{other} = {json.dumps(value)} beside {dotted(path)}"


@mutation("key in snake case", "json")
def _(spot, rng, _others):
    document = spot.json()
    path = any_key(document, rng)
    other = "".join("_" + c.lower() if c.isupper() else c for c in path[-1])
    need(other != path[-1])
    rekeyed(holder(document, path), lambda key: other if key == path[-1] else key)
    spot.write_json(document)
    return dotted(path)


@mutation("key renamed", "json")
def _(spot, rng, _others):
    document = spot.json()
    path = any_key(document, rng)
    rekeyed(holder(document, path), lambda key: key + "x" if key == path[-1] else key)
    spot.write_json(document)
    return dotted(path)


@mutation("unknown field", "json", weight=3)
def _(spot, rng, _others):
    document = spot.json()
    places = [[]] + [path for path in paths(document) if isinstance(get(document, path), dict)]
    path = rng.choice(places)
    value = rng.choice(["1", 1, None, {}, ["x"], {"x": {"y": []}}])
    key = rng.choice(["x-unknown", "unknown", "@type", "", "$schema"])
    get(document, path)[key] = value
    spot.write_json(document)
    return f"{dotted([*path, key])} = {json.dumps(value)}"


@mutation("list: member doubled, moved or taken", "json", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    lists = [path for path in paths(document) if isinstance(get(document, path), list) and get(document, path)]
    need(lists)
    path = rng.choice(lists)
    members = get(document, path)
    what = rng.choice(["emptied", "doubled", "reversed", "null added", "many"])
    put(document, path, {
        "emptied": [], "doubled": members + members[-1:], "reversed": members[::-1], "null added": members + [None],
        "many": members * 40,
    }[what])
    spot.write_json(document)
    return f"{dotted(path)} {what}"


@mutation("text changed", "json", weight=4)
def _(spot, rng, _others):
    document = spot.json()
    found = [(path, value) for path, value in leaves(document) if isinstance(value, str) and value]
    need(found)
    path, value = rng.choice(found)
    at = rng.randrange(len(value))
    what, changed = rng.choice([
        ("a character more", value + "x"), ("a blank in front", " " + value), ("a blank behind", value + " "),
        ("a character less", value[:-1]), ("upper case", value.upper()), ("lower case", value.lower()), ("line end behind", value + "\n"),
        ("a character changed", value[:at] + chr((ord(value[at]) ^ 1) or 32) + value[at + 1:]), ("NUL behind", value + "\0"),
        ("doubled", value + value),
    ])
    need(changed != value)
    put(document, path, changed)
    spot.write_json(document)
    return f"{dotted(path)}: {what}"


@mutation("bytes behind the document", "json")
def _(spot, rng, _others):
    more = rng.choice([b"x", b"{}", b"\0", b"]", b" {}", b"//", b"\n\n{}"])
    spot.write(spot.read() + more)
    return repr(more)


@mutation("bytes before the document", "json")
def _(spot, rng, _others):
    more = rng.choice([b"\xef\xbb\xbf", b"{}", b"\0", b"//\n", b"["])
    spot.write(more + spot.read())
    return repr(more)


@mutation("document cut off", "json")
def _(spot, rng, _others):
    content = spot.read()
    keep = rng.choice([0, 1, len(content) // 2, len(content) - 1])
    spot.write(content[:keep])
    return f"{keep} of {len(content)} bytes"


@mutation("not UTF-8", "json")
def _(spot, rng, _others):
    content = spot.read()
    at = content.index(b'"', rng.randrange(len(content) // 2)) + 1
    spot.write(content[:at] + b"\xff" + content[at:])
    return f"at {at}"


@mutation("a bit of the document", "json", weight=3)
def _(spot, rng, _others):
    content = bytearray(spot.read())
    need(content)
    at, bit = rng.randrange(len(content)), rng.randrange(7)
    content[at] ^= 1 << bit
    spot.write(bytes(content))
    return f"byte {at} bit {bit}"


# --- neutral: JSON says the same ------------------------------------------------------------

@mutation("order of keys", "json", neutral=True, weight=2)
def _(spot, rng, _others):
    def shuffled(value):
        if isinstance(value, dict):
            members = [(key, shuffled(member)) for key, member in value.items()]
            rng.shuffle(members)
            return dict(members)
        return [shuffled(member) for member in value] if isinstance(value, list) else value

    spot.write_json(shuffled(spot.json()))
    return "shuffled"


@mutation("white space between tokens", "json", neutral=True, weight=2)
def _(spot, rng, _others):
    options = rng.choice([{"indent": 1}, {"indent": "\t"}, {"separators": (" ,\r\n", "\t: ")}])
    spot.write(dumped(spot.json(), **options))
    return str(options)


@mutation("white space around the document", "json", neutral=True)
def _(spot, rng, _others):
    before, behind = rng.choice([(b"", b"\n"), (b" ", b""), (b"\r\n\t ", b" \n"), (b"", b" " * 70)])
    spot.write(before + spot.read() + behind)
    return repr((before, behind))


@mutation("characters escaped", "json", neutral=True)
def _(spot, rng, _others):
    content = spot.read().decode()
    escape = rng.choice([lambda: content.replace("/", "\\/"), lambda: content.replace("a", "\\u0061"), lambda: content.replace("i", "\\u0069")])
    need(content != escape())
    spot.write(escape().encode())
    return "escaped"
