"""HTTP/1.1 as an attacker speaks it: where does a request end, whose header is it, what does the path mean.

All of it goes to both ports as bytes. `target` is a server of its own, which has to answer as before after each test,
and whose log output must have no traceback and no secret in the end.
"""

import json

import pytest

from tests.security.conftest import ACTION, Target
from tests.security.wire import said, two_answers

REST_WITHIN_S = 10.0  # for a server that waits for the rest of a chunk
QUERY = b'{"query":"SELECT 1"}'
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
PORTS = pytest.mark.parametrize("port", ["ingest", "console"])


def body_of(port: str) -> bytes:
    return ACTION if port == "ingest" else QUERY


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


class TestWhereARequestEnds:
    """Behind a proxy that sees another end than the server, one sender's bytes become another one's request."""

    @PORTS
    def test_the_plain_case_is_answered_twice(self, target: Target, port: str) -> None:
        body = body_of(port)
        told = target.said(port, b"Content-Length: %d\r\n" % len(body), body + SECOND, enough=two_answers)
        assert told.statuses == [201 if port == "ingest" else 200, 404]

    @PORTS
    def test_with_length_and_chunks_the_connection_ends(self, target: Target, port: str) -> None:
        for fields, rest in (
            (b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n", chunked(body_of(port))),
            (b"Content-Length: %d\r\nX: y\r\nTransfer-Encoding:\tChunked\r\n", chunked(body_of(port))),
        ):
            told = target.said(port, fields % (len(rest) + len(SECOND)), rest + SECOND, closes=True)
            assert len(told.statuses) == 1
            assert told.closed

    @PORTS
    @pytest.mark.parametrize(
        "length",
        [
            b"+%d",
            b"-%d",
            b"0x%x",
            b"%d 1",
            b"1_%d",
            b"%d,",
            b"%d;",
            b'"%d"',
            b"%d.0",
            b"1e%d",
            b"\x0b%d",
            b"%d\x00",
            b"",
        ],
    )
    def test_a_length_that_is_no_number_is_refused(self, target: Target, port: str, length: bytes) -> None:
        body = body_of(port)
        value = length % len(body) if b"%" in length else length
        told = target.said(port, b"Content-Length: " + value + b"\r\n", body + SECOND, closes=True)
        assert told.statuses == [400]
        assert told.closed

    @PORTS
    @pytest.mark.parametrize(
        "fields",
        [
            b"Content-Length: %d\r\nContent-Length: 5\r\n",
            b"Content-Length: 5\r\nContent-Length: %d\r\n",
            b"Content-Length: %d, 5\r\n",
            b"Content-Length : %d\r\n",
            b"Content-Length: 99999999999999999999%d\r\n",
            b"X: y\r\n Content-Length: %d\r\n",
        ],
    )
    def test_two_lengths_or_a_hidden_one_are_refused(self, target: Target, port: str, fields: bytes) -> None:
        body = body_of(port)
        told = target.said(port, fields % len(body), body + SECOND, closes=True)
        assert set(told.statuses) <= {400}
        assert told.closed

    @PORTS
    @pytest.mark.parametrize(
        "field",
        [
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: chunked;q=1",
            b'Transfer-Encoding: "chunked"',
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding: chunked\x00",
            b"Transfer-Encoding : chunked",
            b"Transfer Encoding: chunked",
            b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            b"X: y\r\n Transfer-Encoding: chunked",
            b"X: y\rTransfer-Encoding: chunked",
            b"Transfer_Encoding: chunked",
        ],
    )
    def test_chunks_that_are_only_hinted_at_are_not_taken_for_any(
        self, target: Target, port: str, field: bytes
    ) -> None:
        told = target.said(port, field + b"\r\n", chunked(body_of(port)) + SECOND, closes=True)
        assert set(told.statuses) == {400}
        assert told.closed

    @PORTS
    @pytest.mark.parametrize(
        "body",
        [
            b"0x%x\r\n%s\r\n0\r\n\r\n",
            b"+%x\r\n%s\r\n0\r\n\r\n",
            b"-%x\r\n%s\r\n0\r\n\r\n",
            b"%x\n%s\n0\n\n",
            b"%x;a\n%s\r\n0\r\n\r\n",
            b"%x\r\r\n%s\r\n0\r\n\r\n",
            b"%x_\r\n%s\r\n0\r\n\r\n",
        ],
    )
    def test_a_chunk_of_no_size_is_refused(self, target: Target, port: str, body: bytes) -> None:
        text = body_of(port)
        told = target.said(port, b"Transfer-Encoding: chunked\r\n", body % (len(text), text) + SECOND, closes=True)
        assert told.statuses == [400]
        assert told.closed

    @PORTS
    def test_a_chunk_that_ends_elsewhere_ends_the_connection(self, target: Target, port: str) -> None:
        text = body_of(port)
        for body in (b"%x\r\n%s0\r\n\r\n", b"%x\r\n%sXX0\r\n\r\n"):
            told = target.said(port, b"Transfer-Encoding: chunked\r\n", body % (len(text), text) + SECOND, closes=True)
            assert len(told.statuses) == 1
            assert told.closed

    @pytest.mark.parametrize("size", [b"F" * 16, b"F" * 17, b"1" + b"0" * 16, b"7" + b"F" * 15])
    def test_a_chunk_as_large_as_the_world_is_refused(self, target: Target, size: bytes) -> None:
        request = target.request(
            "ingest", b"Transfer-Encoding: chunked\r\n", size + b"\r\n" + ACTION + b"\r\n0\r\n\r\n"
        )
        told = said(target.server.ingest, request, within_s=REST_WITHIN_S)
        assert set(told.statuses) <= {400}

    def test_an_extension_of_a_chunk_without_end_is_refused(self, target: Target) -> None:
        body = b"%x;%s\r\n%s\r\n0\r\n\r\n" % (len(ACTION), b"a" * 100_000, ACTION)
        told = target.said("ingest", b"Transfer-Encoding: chunked\r\n", body + SECOND, closes=True)
        assert (told.statuses, told.closed) == ([400], True)

    @PORTS
    def test_a_body_of_a_get_is_no_request(self, target: Target, port: str) -> None:
        line = b"GET /health/live HTTP/1.1"
        told = target.said(port, b"Content-Length: %d\r\n" % len(SECOND), SECOND, line=line)
        assert told.statuses == [200]

    @PORTS
    @pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0"])
    def test_no_other_protocol_is_taken_up(self, target: Target, port: str, upgrade: bytes) -> None:
        fields = (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + upgrade + b"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        )
        told = target.said(port, fields, b"", line=b"GET /health/live HTTP/1.1")
        assert told.statuses == [200]


class TestHeaders:
    @PORTS
    @pytest.mark.parametrize(
        "field",
        [
            b"Idempotency-Key: a\r\nX-Injected: yes",
            b'Idempotency-Key: "a%0d%0aX-Injected: yes"',
            b"X-Request-Id: a%0d%0aX-Injected:%20yes",
            b"Origin: https://x\\r\\nX-Injected: yes",
            b"If-None-Match: a%0aX-Injected: yes",
            b"Access-Control-Request-Headers: a%0d%0aX-Injected: yes",
            b"traceparent: 00-%0d%0aX-Injected: yes",
            b"X-Forwarded-For: 1.2.3.4%0d%0aX-Injected: yes",
        ],
    )
    def test_nothing_that_is_sent_becomes_a_field_of_the_answer(self, target: Target, port: str, field: bytes) -> None:
        body = body_of(port)
        for line in (None, b"OPTIONS /v1/actions HTTP/1.1", b"GET /v1/config?a=%0d%0aX-Injected:%20yes HTTP/1.1"):
            told = target.said(port, field + b"\r\nContent-Length: %d\r\n" % len(body), body, line=line)
            heads = [part.partition(b"\r\n\r\n")[0].lower() for part in told.raw.split(b"HTTP/1.1 ")]
            assert not [head for head in heads if b"x-injected" in head]

    @PORTS
    @pytest.mark.parametrize(
        "path", [b"/v1/%0d%0aX-Injected:%20y", b"/x%0aX-Injected:%20y", b"/%E5%98%8A%E5%98%8DX-Injected:y"]
    )
    def test_nor_does_anything_in_the_path(self, target: Target, port: str, path: bytes) -> None:
        told = target.said(port, b"", b"", line=b"GET " + path + b" HTTP/1.1")
        head, _, body = told.raw.partition(b"\r\n\r\n")
        assert told.statuses == [404]
        assert b"x-injected" not in head.lower()
        assert json.loads(body)

    @PORTS
    @pytest.mark.parametrize("value", [b"a\x00b", b"a\rb", b"\x00"])
    def test_control_characters_are_no_value(self, target: Target, port: str, value: bytes) -> None:
        told = target.said(port, b"X: " + value + b"\r\n", b"", line=b"GET /health/live HTTP/1.1")
        assert told.statuses == [400]

    @PORTS
    @pytest.mark.parametrize(
        "fields", [b"x: %s\r\n" % (b"a" * 3_000_000), b"a: b\r\n" * 100_000, b"%s: y\r\n" % (b"x" * 10**6)]
    )
    def test_more_than_fits_is_refused_before_it_is_read(self, target: Target, port: str, fields: bytes) -> None:
        told = target.said(port, fields, b"", line=b"GET /health/live HTTP/1.1", closes=True)
        assert set(told.statuses) <= {400, 431}
        assert told.closed

    def test_a_key_that_is_not_ascii_is_none(self, target: Target) -> None:
        for value in (b"\xff\xfe", b"\xed\xa0\x80", "é".encode()):
            told = said(
                target.server.ingest,
                b"POST /v1/actions HTTP/1.1\r\nHost: x\r\nX-Moesif-Application-Id: %s\r\nContent-Length: 2\r\n\r\n{}"
                % value,
            )
            assert told.statuses == [401]


class TestPaths:
    """No file is served at any path. Of the forms that mean the same, the server takes some; what is told here is that
    none means something else to it than to who wrote it, and none is a fault of ours."""

    @PORTS
    @pytest.mark.parametrize(
        "path",
        [
            *(b"/../../../etc/passwd", b"/..%2f..%2fetc%2fpasswd", b"/%2e%2e/%2e%2e/etc/passwd", b"/....//etc/passwd"),
            *(b"/..;/api/status", b"/.%00./x", b"/%00", b"/v1/actions%00.json", b"/%c0%ae%c0%ae/x", b"/%u002e/x"),
            *(b"/%", b"/%zz", b"/%ff%fe", b"/\\..\\x", b"/v1\\actions", b"/%5c..%5c", b"//", b"/.", b"/..", b"*"),
            *(b"//evil.example/%2e%2e", b"/api%2Fsql", b"/API/SQL", b"/api/sql/", b"/api//sql", b"/api/./sql"),
            *(b"/health%2flive%00", b"/?x=%00", b"/" + b"../" * 2000, b"/" + b"a/" * 4000, b"/" + b"%41" * 3000),
        ],
    )
    def test_a_path_of_no_route_is_not_found(self, target: Target, port: str, path: bytes) -> None:
        told = target.said(port, b"", b"", line=b"GET " + path + b" HTTP/1.1")
        assert set(told.statuses) <= {404, 405, 400, 414}
        assert b"root:" not in told.raw
        _, _, body = told.raw.partition(b"\r\n\r\n")
        assert not body or json.loads(body)
        assert len(told.raw) < 4096

    @PORTS
    @pytest.mark.parametrize("path", [b"/a\x00b", b"/a b", b"/\xff", b"/\x7f"])
    def test_a_path_with_what_no_path_has_is_refused(self, target: Target, port: str, path: bytes) -> None:
        told = target.said(port, b"", b"", line=b"GET " + path + b" HTTP/1.1", closes=True)
        assert (told.statuses, told.closed) == ([400], True)

    @PORTS
    def test_a_path_without_end_is_refused(self, target: Target, port: str) -> None:
        told = target.said(port, b"", b"", line=b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1", closes=True)
        assert set(told.statuses) <= {400, 414, 431}
        assert told.closed

    @pytest.mark.parametrize(
        "target_form",
        [b"http://evil.example/api/status", b"https://x@localhost/api/status", b"//x/api/status", b"x:80"],
    )
    def test_a_whole_address_in_the_request_line_opens_nothing(self, target: Target, target_form: bytes) -> None:
        told = said(target.server.console, b"GET " + target_form + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert set(told.statuses) <= {400, 401, 404}

    @pytest.mark.parametrize("path", [b"/api%2Fstatus", b"/api/%73tatus", b"/%61pi/status", b"/./api/status"])
    def test_a_route_by_another_spelling_wants_the_token_as_well(self, target: Target, path: bytes) -> None:
        told = said(target.server.console, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert set(told.statuses) <= {401, 404}

    @PORTS
    @pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"PATCH", b"get", b"PRI", b"A" * 5000, b"DEBUG"])
    def test_a_method_of_no_route_is_not_allowed(self, target: Target, port: str, method: bytes) -> None:
        path = b"/v1/actions" if port == "ingest" else b"/api/sql"
        told = target.said(port, b"X-Secret: echoed\r\n", b"", line=method + b" " + path + b" HTTP/1.1")
        assert told.statuses == [405]
        assert b"echoed" not in told.raw
        assert len(told.raw) < 2048
