"""Changes of texts in base64: of what they say, and of how they are written."""

import base64

from ..image import b64
from .kinds import mutation, need


def decoded(spot):
    content = base64.b64decode(spot.read())
    need(content)
    return content


def write(spot, content):
    spot.write(b64(content).encode())


@mutation("a bit of what is in base64", "text", weight=10)
def _(spot, rng, _others):
    content = bytearray(decoded(spot))
    at, bit = rng.randrange(len(content)), rng.randrange(8)
    content[at] ^= 1 << bit
    write(spot, bytes(content))
    return f"byte {at} of {len(content)}, bit {bit}"


@mutation("a byte of what is in base64", "text", weight=3)
def _(spot, rng, _others):
    content = bytearray(decoded(spot))
    at = rng.randrange(len(content))
    content[at] = rng.choice([0, 0xff, 0x30, (content[at] + 1) % 256])
    write(spot, bytes(content))
    return f"byte {at} of {len(content)}"


@mutation("cut off in base64", "text", weight=3)
def _(spot, rng, _others):
    content = decoded(spot)
    keep = rng.choice([0, 1, len(content) - 1, len(content) // 2])
    write(spot, content[:keep])
    return f"{keep} of {len(content)} bytes"


@mutation("more in base64", "text", weight=3)
def _(spot, rng, _others):
    content, more = decoded(spot), rng.choice([b"\0", b"x", b"\n", b"\0" * 16])
    write(spot, more + content if rng.random() < 0.3 else content + more)
    return repr(more)


@mutation("base64 without padding", "text", weight=2)
def _(spot, rng, _others):
    text = spot.read()
    need(text.endswith(b"="))
    spot.write(text.rstrip(b"="))
    return "padding"


@mutation("base64 with more padding", "text")
def _(spot, rng, _others):
    spot.write(spot.read() + rng.choice([b"=", b"==", b"===="]))
    return "padding"


@mutation("base64 with loose bits", "text", weight=2)
def _(spot, rng, _others):
    """The last character has bits that no byte uses: many texts for the same bytes."""
    text = spot.read()
    need(text.endswith(b"="))
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = text.rstrip(b"=")
    last = alphabet[alphabet.index(body[-1]) | 1]
    need(last != body[-1])
    spot.write(body[:-1] + bytes([last]) + text[len(body):])
    return "last character"


@mutation("base64 in the URL alphabet", "text", weight=2)
def _(spot, rng, _others):
    text = spot.read()
    other = text.replace(b"+", b"-").replace(b"/", b"_")
    need(other != text)
    spot.write(other)
    return "alphabet"


@mutation("blanks in base64", "text", weight=2)
def _(spot, rng, _others):
    text, blank = spot.read(), rng.choice([b" ", b"\t", b"\0", b"\x0b", b"-", b"."])
    at = rng.choice([0, len(text) // 2, len(text)])
    spot.write(text[:at] + blank + text[at:])
    return f"{blank!r} at {at} of {len(text)}"


@mutation("line ends in base64", "text", weight=2)
def _(spot, rng, _others):
    text, end = spot.read(), rng.choice([b"\n", b"\r\n", b"\r"])
    at = rng.choice([0, len(text) // 2, len(text)])
    spot.write(text[:at] + end + text[at:])
    return f"{end!r} at {at} of {len(text)}"


@mutation("hex in place of base64", "text")
def _(spot, rng, _others):
    spot.write(decoded(spot).hex().encode())
    return "hex"


@mutation("base64 twice", "text")
def _(spot, rng, _others):
    spot.write(base64.b64encode(spot.read()))
    return "twice"
