"""Bytes on the wire, for requests that no HTTP client would send: over HTTP/1.1, and frames of HTTP/2."""

import re
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import httpx

ANSWERED_WITHIN_S = 30.0
QUIET_S = 0.4  # how long nothing may come from a server that has said enough and keeps the connection open
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x7, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Heard(NamedTuple):
    """What came back, the status of each answer in it, and whether the server closed the connection."""

    raw: bytes
    statuses: list[int]
    closed: bool


def one_answer(raw: bytes) -> bool:
    """Whether one answer over HTTP/1.1 has come as a whole."""
    return answers(raw) >= 1


def two_answers(raw: bytes) -> bool:
    return answers(raw) >= 2


def answers(raw: bytes) -> int:
    """How many answers have come as a whole."""
    count = 0
    while b"\r\n\r\n" in raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        body_bytes = int(length[1]) if length else 0
        if len(rest) < body_bytes:
            break
        raw = rest[body_bytes:]
        count += 1
    return count


def said(
    url: str,
    data: bytes,
    *,
    enough: Callable[[bytes], bool] = one_answer,
    closes: bool = False,
    within_s: float = ANSWERED_WITHIN_S,
) -> Heard:
    """Sends these bytes over a new connection and listens until the server closes it, or is quiet after it has said
    `enough`. A machine that is busy may be quiet for long before that. One that `closes` has not said enough before."""
    raw, closed = b"", False
    with connected(url) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        connection.settimeout(within_s)
        try:
            while part := connection.recv(65536):
                raw += part
                if enough(raw) and not closes:
                    connection.settimeout(QUIET_S)
            closed = True
        except TimeoutError:
            pass
        except ConnectionError:
            closed = True
    return Heard(raw, [int(status) for status in _STATUS.findall(raw)], closed)


def connected(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 0), timeout=ANSWERED_WITHIN_S)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def packed(fields: list[tuple[bytes, bytes]]) -> bytes:
    """A field section, each field a literal that is not indexed (RFC 7541 6.2.2)."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


def _text(text: bytes) -> bytes:
    """A string with its length as an integer with a prefix of 7 bits (RFC 7541 5.1)."""
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, length = len(text) - 127, b"\x7f"
    while rest >= 128:
        length += bytes((rest % 128 + 128,))
        rest //= 128
    return length + bytes((rest,)) + text
