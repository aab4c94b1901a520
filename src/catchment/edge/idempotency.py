"""The header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a call that is sent again counts once.

The ids that the edge makes for such a call are derived from the application, the source, its scope, the key and what
was asked, instead of new ones. So the call makes the same records whichever process handles it, before or after
whatever crash, and the store collapses them as it does any two copies. `answers` remembers what the first call was
answered.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from uuid import UUID

from catchment.dialects.dialect import Call, Caller, Route
from catchment.record import EventRecord, Record

KEY_HEADER = "idempotency-key"
KEY_CHARS_MAX = 255
_DIGEST_BYTES = 16
_FORM_MASK, _FORM = 0xF << 76 | 0x3 << 62, 0x8 << 76 | 0x2 << 62  # version and variant, RFC 9562 5.8
_LENGTH_BYTES = 8
# A String of RFC 9651, whose parameters mean nothing here; or, as most clients send it, the bare text.
_QUOTED = re.compile(r'"(?P<key>(?:[ !#-\[\]-~]|\\["\\])*)"(?: *;[ -~]*)?')
_BARE = re.compile(r"(?P<key>[!#-~][ -~]*)")


class BadKey(ValueError):
    """The header is no key; the text says what one is."""


def key_of(header: str) -> str:
    """The key: `"abc"` and `abc` are the same. Raises `BadKey`."""
    header = header.strip(" \t")
    quoted, bare = _QUOTED.fullmatch(header), _BARE.fullmatch(header)
    key = re.sub(r"\\(.)", r"\1", quoted["key"]) if quoted else bare["key"] if bare else ""
    if not 1 <= len(key) <= KEY_CHARS_MAX:
        raise BadKey(
            f"Idempotency-Key must have 1 to {KEY_CHARS_MAX} characters of printable ASCII, with quotes or not"
        )
    return key


class KeyedCall:
    """A call under a key. `name` is the key's, within application, source and scope; `asked` tells one call from
    another: endpoint, parameters of the path, query, body."""

    def __init__(self, key: str, source: str, caller: Caller, route: Route, call: Call, body: bytes) -> None:
        parameters = (part for pair in sorted(call.parameters.items()) for part in pair)
        self.name = _digest(*map(_bytes, (caller.app, source, caller.scope, key)))
        self.asked = _digest(*map(_bytes, (route.endpoint, call.query, *parameters)), body)
        self._made = 0

    def new_id(self) -> str:
        """The next id, as a UUID of version 8: the same ones in the same order each time that the call is made."""
        self._made += 1
        made = _digest(self.name, self.asked, self._made.to_bytes(_LENGTH_BYTES, "big"))
        return str(UUID(int=int.from_bytes(made, "big") & ~_FORM_MASK | _FORM))


def mark_undated(records: Iterable[Record], received_at: datetime) -> None:
    """Marks the events whose time is the server's: sent again they have another one, maybe of another day, and must
    be the same event all the same (docs/decisions/0002)."""
    for record in records:
        if isinstance(record, EventRecord) and record.time is received_at:
            record.undated = True


def _digest(*parts: bytes) -> bytes:
    """Of the parts one by one: `a`, `bc` is another than `ab`, `c`."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(_LENGTH_BYTES, "big"))
        digest.update(part)
    return digest.digest()


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
