"""The target of a request's body: how it comes, and how it is decompressed, within one bound.

An input is one byte for the coding, one for the bound, one for how the body comes, a line that is its Content-Length
(empty for none), and the body; where the coding's highest bit is set, the body is compressed by it first.
"""

import asyncio
import gzip
import itertools
import zlib
from collections.abc import AsyncIterator

from catchment.edge.body import BadEncoding, Gone, TooLarge, decompress, read_body
from catchment.edge.gate import Busy, Gate, TooSlow
from catchment.settings import Ingest
from tests.fuzz.target import Target, require

CODINGS = ("gzip", "deflate", "x-gzip", "identity", "", "deflate, gzip", "gzip,GZIP", "br", "gzip, gzip, gzip")
_RUNNER = asyncio.Runner()


class Sent:
    """A client that sends its body in parts of some size."""

    def __init__(self, body: bytes, part_bytes: int) -> None:
        self._body = body
        self._part_bytes = part_bytes

    async def __call__(self) -> bytes:
        return self._body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for begin in range(0, len(self._body), self._part_bytes):
            yield self._body[begin : begin + self._part_bytes]


def received(data: bytes) -> None:
    """What is read is what was sent, or it is refused by the bound; and no bound is exceeded."""
    choice, bound, part_bytes = (*data[:3], 0, 0, 0)[:3]
    line, _, body = data[3:].partition(b"\n")
    coding, bytes_max = CODINGS[choice % 0x80 % len(CODINGS)], bound * 64
    if choice & 0x80:
        _round_trip(body, coding, bytes_max)
        return
    declared = line.decode("latin-1")
    headers = {"content-length": declared} if declared else {}
    _RUNNER.run(_read(body, headers, bytes_max, part_bytes + 1))
    try:
        inflated = decompress(body, coding, bytes_max)
    except (TooLarge, BadEncoding):
        return
    if inflated is not body:
        require(len(inflated) <= bytes_max, "what was decompressed is within its bound")


async def _read(body: bytes, headers: dict[str, str], bytes_max: int, part_bytes: int) -> None:
    gate = Gate(Ingest())
    place = gate.enter()
    try:
        came = await read_body(Sent(body, part_bytes), headers, bytes_max, place)
    except (TooLarge, Gone, Busy, TooSlow):
        pass
    else:
        require(came == body, "what was read is what was sent")
        require("content-length" in headers or len(came) <= bytes_max, "what was read is within its bound")
    gate.leave(place)
    require((gate.requests, gate.body_bytes, gate.coming) == (0, 0, set()), "the place is given back")


def _round_trip(body: bytes, coding: str, bytes_max: int) -> None:
    sent = body
    for name in coding.lower().replace(" ", "").split(","):
        sent = gzip.compress(sent, 1) if "gzip" in name else zlib.compress(sent, 1) if name == "deflate" else sent
    try:
        came = decompress(sent, coding, bytes_max)
    except TooLarge:
        within = len(body) if "," not in coding else len(body) + 32
        require(within > bytes_max, "what fits its bound is taken")
    except BadEncoding:
        require(coding in ("br", "gzip, gzip, gzip"), "what is compressed soundly is taken")
    else:
        require(came == body, "what was compressed is found again")


def _seeds() -> list[bytes]:
    text = b'{"a":[1,2,3]}' * 5
    deflater = zlib.compressobj(wbits=-15)
    raw = deflater.compress(text) + deflater.flush()
    packed = [gzip.compress(text, mtime=0), zlib.compress(text), raw, gzip.compress(text, mtime=0) * 2]
    packed += [gzip.compress(zlib.compress(text), mtime=0), gzip.compress(b"", mtime=0) * 17, packed[0][:-4], b""]
    bounds = itertools.product(range(len(CODINGS)), (0, 9))
    seeds = [bytes([coding, bound, 20]) + b"\n" + body for coding, bound in bounds for body in packed]
    seeds += [bytes([0x80 + coding, bound, 0]) + b"\n" + text for coding in range(len(CODINGS)) for bound in (1, 200)]
    lengths = (b"65", b"0", b"-1", b"9" * 30, b"9" * 5000, b"x", b"\xb2")
    return seeds + [bytes([3, 200, part]) + length + b"\n" + text for length in lengths for part in (0, 255)]


TARGETS = [Target("bodies", received, _seeds(), bytes_max=20_000)]
