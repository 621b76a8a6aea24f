"""Every way to change an image's signatures, by its name.

  kinds.py     what a mutation is; where each sort of them applies
  of_json.py   any JSON document: fields dropped, doubled, retyped, renamed …
  of_text.py   texts in base64: bits, lengths, ways to write them
  of_bundle.py the parts of a bundle, and swaps with another image's
  of_log.py    checkpoints and numbers of log entries
  of_classic.py annotations and certificates of the classic layout
  of_signed.py payloads and statements; signed again where a key of ours signs
  of_image.py  manifests, tags and referrers; what else lies beside a signature
"""

from . import of_bundle, of_classic, of_image, of_json, of_log, of_signed, of_text  # noqa: F401  (they register themselves)
from .kinds import ALL, NotHere  # noqa: F401
