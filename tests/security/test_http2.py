"""HTTP/2 as an attacker speaks it, frame by frame. The console's port does not speak it.

`target` has to answer as before after each test, and to have logged no traceback and no secret in the end.
"""

from collections.abc import Callable

import pytest

from tests.security.conftest import Target
from tests.security.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    connected,
    frame,
    packed,
    said,
)

REQUEST = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", b"/health/live")]


class TestHttp2:
    def heard(self, target: Target, frames: bytes, enough: Callable[[bytes], bool] = bool) -> bytes:
        return said(target.server.ingest, PREFACE + frame(SETTINGS, 0, 0) + frames, enough=enough).raw

    def kinds(self, raw: bytes) -> list[int]:
        """The kinds of the frames that came back."""
        kinds = []
        while len(raw) >= 9:
            kinds.append(raw[3])
            raw = raw[9 + int.from_bytes(raw[:3], "big") :]
        return kinds

    def test_the_plain_case_is_answered(self, target: Target) -> None:
        request = frame(HEADERS, END_STREAM | END_HEADERS, 1, packed(REQUEST))
        raw = self.heard(target, request, lambda raw: b'{"status":"ok"}' in raw)
        assert HEADERS in self.kinds(raw)
        assert b'{"status":"ok"}' in raw

    @pytest.mark.parametrize(
        "fields",
        [
            [*REQUEST, (b"transfer-encoding", b"chunked")],
            [*REQUEST, (b"connection", b"close")],
            [*REQUEST, (b"X-Upper", b"y")],
            [*REQUEST, (b"x", b"a\r\nx-injected: yes")],
            [*REQUEST, (b"x\r\ny", b"a")],
            [*REQUEST, (b"x", b"a\x00b")],
            [*REQUEST, (b":path", b"/other")],
            [*REQUEST, (b"te", b"gzip")],
            [(b"x", b"y"), *REQUEST],
            REQUEST[:3],
            [*REQUEST[:3], (b":path", b"")],
            [*REQUEST, (b"content-length", b"7")],
            [*REQUEST, (b"content-length", b"1, 2")],
        ],
    )
    def test_a_malformed_request_is_answered_by_no_success_twice(
        self, target: Target, fields: list[tuple[bytes, bytes]]
    ) -> None:
        raw = self.heard(target, frame(HEADERS, END_STREAM | END_HEADERS, 1, packed(fields)))
        assert self.kinds(raw).count(DATA) <= 1
        assert b"x-injected" not in raw

    def test_headers_without_end_are_not_kept(self, target: Target) -> None:
        first = frame(HEADERS, END_STREAM, 1, packed(REQUEST))
        more = frame(CONTINUATION, 0, 1, packed([(b"x", b"a" * 16_000)]))
        with connected(target.server.ingest) as connection:
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + first)
            sent = 0
            try:
                for _ in range(5000):  # 80 MB, if it took them
                    connection.sendall(more)
                    sent += len(more)
            except (ConnectionError, TimeoutError):
                pass
        assert sent < 40_000_000

    def test_streams_that_are_reset_at_once_end_the_connection_or_nothing(self, target: Target) -> None:
        flood = b"".join(
            frame(HEADERS, END_STREAM | END_HEADERS, stream, packed(REQUEST))
            + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
            for stream in range(1, 40_001, 2)
        )
        raw = self.heard(target, flood, lambda raw: not {GOAWAY, HEADERS}.isdisjoint(self.kinds(raw)))
        assert GOAWAY in self.kinds(raw) or raw == b"" or HEADERS in self.kinds(raw)

    @pytest.mark.parametrize(
        "frames",
        [
            b"\xff" * 100,
            frame(DATA, 0, 0, b"x"),
            frame(HEADERS, END_HEADERS, 2, packed(REQUEST)),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" * 50),
            frame(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"),
            frame(CONTINUATION, END_HEADERS, 1, b""),
            frame(8, 0, 0, b"\0\0\0\0"),
            (0xFFFFFF).to_bytes(3, "big") + b"\0\0\0\0\0\1",
        ],
    )
    def test_frames_that_make_no_sense_end_the_connection(self, target: Target, frames: bytes) -> None:
        raw = self.heard(target, frames)
        assert b'{"status":"ok"}' not in raw
