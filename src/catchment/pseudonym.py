"""Credentials are not events: session tokens and credential headers are stored as keyed hashes by default.

The hash of one value is always the same under one key (`privacy.hash_key`), so events still join and group by it; who
steals the store can log in nowhere. `privacy.credentials = "plain"` keeps the values.
"""

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache

PREFIX = "hash:"
_DIGEST_BYTES = 16
_CACHED_VALUES_MAX = 4096

_HASHED = re.compile(rf"{PREFIX}[0-9a-f]{{{2 * _DIGEST_BYTES}}}")

Pseudonym = Callable[[str], str]


def keyed_hash(hash_key: str) -> Pseudonym:
    """A function from a credential to `hash:` and 32 hexadecimal digits (BLAKE2b, keyed)."""
    key = hashlib.sha256(hash_key.encode()).digest()

    @lru_cache(_CACHED_VALUES_MAX)
    def hashed(value: str) -> str:
        text = value.encode(errors="surrogatepass")
        return PREFIX + hashlib.blake2b(text, key=key, digest_size=_DIGEST_BYTES).hexdigest()

    return hashed


def plain(value: str) -> str:
    """Keeps the value as it is."""
    return value


def keeping_hashes(pseudonym: Pseudonym) -> Pseudonym:
    """The same, but what is a hash stays as it is: for bodies that were stored with hashes in place of credentials and
    are decoded again. Never for what a sender sends, who could choose a hash."""
    return lambda value: value if _HASHED.fullmatch(value) else pseudonym(value)
