"""What a mutation is, and where each sort applies."""

from dataclasses import dataclass
from typing import Callable

from ..image import BUNDLE
from ..spots import Spot, documents, leaves, signed, text_at, texts


class NotHere(Exception):
    """The mutation does not apply to what was chosen for it."""


@dataclass(frozen=True)
class Mutation:
    name: str
    sort: str         # a key of PLACES
    neutral: bool     # changes nothing that is said: whoever accepted before must accept after
    weight: int       # how often it is chosen
    change: Callable  # (place, rng, others) -> what was done, in words; `others` are images to take parts from

    def apply(self, image, rng, others, only_signed=False):
        """Changes the image. The description says where and what."""
        try:
            place = rng.choice(self.places(image, only_signed))
            done = self.change(place, rng, others)
        except (ValueError, LookupError, TypeError, AttributeError) as error:   # an earlier mutation took away what this one needs
            raise NotHere from error
        return f"{getattr(place, 'name', 'image')}: {done}"

    def places(self, image, only_signed):
        places = PLACES[self.sort](image)
        if not only_signed or self.sort == "envelope":
            return places
        names = {spot.name for spot in signed(image)}
        return [place for place in places if isinstance(place, Spot) and place.name in names]


ALL = []


def mutation(name, sort, neutral=False, weight=1):
    def register(change):
        ALL.append(Mutation(name, sort, neutral, weight, change))
        return change
    return register


def need(condition):
    if not condition:
        raise NotHere


def _named(*names):
    return lambda image: [spot for spot in documents(image) if spot.name in names]


def _images_with_bundle(image):
    return [image] if image.of_kind(BUNDLE) else []


def _checkpoints(image):
    return [
        text_at(spot, path) for spot in _named("bundle")(image)
        for path, value in leaves(spot.json()) if path[-1] == "envelope" and isinstance(value, str)
    ]


PLACES = {
    "json": documents,
    "text": lambda image: list(texts(image)),
    "checkpoint": _checkpoints,
    "bundle": _named("bundle"),
    "annotations": _named("annotations"),
    "payload": _named("payload"),
    "statement": _named("statement"),
    "envelope": _named("bundle", "envelope"),
    "image": lambda image: [image],
    "image with bundle": _images_with_bundle,
}
