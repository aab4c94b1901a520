"""What a key leads to, found in a time that tells nothing of the keys that there are.

A key is looked up by its digest, under a secret that is made anew with each ring. So whatever the time of a lookup
may tell is about a digest that nobody outside can know or choose; the keys themselves are never compared with what
somebody sent.
"""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
_DIGEST_BYTES = 16
_SECRET_BYTES = 32


class Keyring(Generic[T]):
    """Texts and what each leads to; of a text that comes twice, the last counts."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._keyed = hashlib.blake2b(key=secrets.token_bytes(_SECRET_BYTES), digest_size=_DIGEST_BYTES)
        self._found = {self._digest(text): value for text, value in entries}

    def find(self, text: str) -> T | None:
        """What the text leads to, if anything."""
        return self._found.get(self._digest(text))

    def _digest(self, text: str) -> bytes:
        digest = self._keyed.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.digest()
