"""Reads a request's body within its limit, and decompresses it within the same limit.

A body is refused before memory grows: by its declared length, else as soon as what came exceeds the limit. A
compressed one costs at most the limit once more, whatever it claims to hold. What has come takes room at the gate, so
that all bodies together have a bound; of a large one not before it has come, or saying so would be enough to hold it.
"""

import zlib
from collections.abc import AsyncIterator
from typing import Protocol

from catchment.dialects.dialect import Headers
from catchment.edge.gate import Place

AT_ONCE_BYTES_MAX = 16 * 1024  # larger ones are read part by part; these take no room on their way (`memory`)
CODINGS_MAX = 2
_LENGTH_CHARS_MAX = 20
MEMBERS_MAX = 16  # each costs a copy of what is left
_AUTO_GZIP_OR_ZLIB = 47
_RAW_DEFLATE = -15


class TooLarge(Exception):
    """The body is over the limit, compressed or not."""


class Gone(Exception):
    """The client left in the middle of its body, or cannot go on with it: its chunks are malformed."""


class BadEncoding(Exception):
    """The body is not what its Content-Encoding says, or that is not supported."""


class Source(Protocol):
    """The server's side of a request's body."""

    async def __call__(self) -> bytes: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


async def read_body(source: Source, headers: Headers, bytes_max: int, place: Place) -> bytes:
    """The body as sent, for which `place` then holds the room. Raises `TooLarge`, `Gone`, `Busy` and
    `TooSlow`."""
    declared = declared_bytes(headers)
    if declared is not None and declared > bytes_max:
        raise TooLarge
    with place:
        if declared is not None and declared <= AT_ONCE_BYTES_MAX:
            body = await source()
            if len(body) < declared:
                raise Gone
            place.hold(len(body))
            return body
        parts: list[bytes] = []
        size = ends = 0
        async for part in source:
            if not part:
                ends += 1
            size += len(part)
            if size > bytes_max:
                raise TooLarge
            place.hold(size)
            parts.append(part)
    if (size < declared) if declared is not None else (ends > 1 and _is_chunked(headers)):
        raise Gone
    return b"".join(parts)


def _is_chunked(headers: Headers) -> bool:
    """Whether a second empty part means that the body broke off. Granian gives one part without bytes for the end, and
    one before it where reading failed, or for trailers, which are rare and announced. In HTTP/2, which has no
    Transfer-Encoding, there may be any number."""
    return "transfer-encoding" in headers and "trailer" not in headers


async def drain_body(source: Source, bytes_max: int) -> None:
    """Lets so many bytes come at most, and forgets them at once."""
    size = 0
    async for part in source:
        size += len(part)
        del part
        if size > bytes_max:
            return


def declared_bytes(headers: Headers) -> int | None:
    """What the Content-Length says; None without one. Raises `TooLarge` where it is no number, or one without end."""
    declared = headers.get("content-length")
    if declared is None:
        return None
    if not declared.isdecimal() or len(declared) > _LENGTH_CHARS_MAX:
        raise TooLarge
    return int(declared)


def decompress(body: bytes, encoding: str | None, bytes_max: int) -> bytes:
    """The body without its Content-Encoding: gzip (some members), deflate (zlib or raw), identity or none.

    Raises `TooLarge` and `BadEncoding`.
    """
    names = [name.strip().lower() for name in encoding.split(",")] if encoding else []
    if len(names) > CODINGS_MAX:
        raise BadEncoding(f"Content-Encoding names more than {CODINGS_MAX} codings")
    for name in reversed(names):
        if name in ("", "identity"):
            continue
        if name not in ("gzip", "x-gzip", "deflate"):
            raise BadEncoding(f"Content-Encoding {name[:40]!r} is not supported; use gzip or deflate")
        try:
            body = _inflate(body, bytes_max)
        except zlib.error as error:
            raise BadEncoding(f"body is not valid {name}: {error}") from None
    return body


def _inflate(body: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    room = bytes_max
    for _ in range(MEMBERS_MAX):
        stream = zlib.decompressobj(_AUTO_GZIP_OR_ZLIB if _has_header(body) else _RAW_DEFLATE)
        part = stream.decompress(body, room + 1)
        room -= len(part)
        if room < 0:
            raise TooLarge
        parts.append(part)
        if not stream.eof:
            raise zlib.error("incomplete or truncated stream")
        body = stream.unused_data
        if not _has_header(body):
            return b"".join(parts)
    raise zlib.error(f"more than {MEMBERS_MAX} members")


def _has_header(body: bytes) -> bool:
    """Whether the bytes begin like gzip or zlib (RFC 1952 2.3.1, RFC 1950 2.2)."""
    if len(body) < 2:
        return False
    return body[:2] == b"\x1f\x8b" or (body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0)
