"""A body that breaks off is not taken for a whole one, also where nothing says how long it is."""

import socket
import struct

import httpx
import pytest

from tests.conftest import AppOf

WHOLE = b'{"action_name": "whole", "request": {"uri": "https://x/y"}}'
CUT = b'{"action_name": "cut", "request": {"uri": "https://x/y"}}'
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def connect(app: AppOf, body: bytes, *fields: str) -> socket.socket:
    """A connection on which a call with such a body was sent."""
    url = httpx.URL(app.server.ingest)
    connection = socket.create_connection((url.host, url.port or 80), timeout=30)
    keys = [f"{name}: {value}" for name, value in app.moesif_headers.items()]
    head = ["POST /v1/actions HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *keys, *fields, "", ""]
    connection.sendall("\r\n".join(head).encode() + body)
    return connection


def status(connection: socket.socket) -> int:
    with connection:
        return int(connection.recv(1000).split()[1])


@pytest.mark.parametrize("end", [b"", b"0\r\n", b"0\r\n\r", b"5\r\nab"])
@pytest.mark.parametrize("how", ["closed", "reset", "half closed"])
def test_chunks_without_their_end_are_not_taken(app: AppOf, end: bytes, how: str) -> None:
    connection = connect(app, chunk(CUT) + end)
    if how == "half closed":
        connection.shutdown(socket.SHUT_WR)
        assert status(connection) == 400
    elif how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    assert status(connect(app, chunk(WHOLE) + LAST)) == 201
    assert [event["name"] for event in app.events(1)] == ["whole"]
    assert app.server.sql("SELECT count() AS n FROM rejections WHERE app = {app:String}", app=app.name) == [{"n": 0}]


def test_chunks_that_are_none_are_refused(app: AppOf) -> None:
    assert status(connect(app, chunk(CUT) + b"zz\r\n")) == 400


@pytest.mark.parametrize("parts", [[WHOLE], [WHOLE[:9], WHOLE[9:]], [WHOLE, b" " * 200_000, b" "]])
def test_whole_ones_are_taken_in_however_many_chunks(app: AppOf, parts: list[bytes]) -> None:
    assert status(connect(app, b"".join(map(chunk, parts)) + LAST)) == 201


def test_fields_behind_the_body_are_taken_where_the_head_announces_them(app: AppOf) -> None:
    trailers = chunk(WHOLE) + b"0\r\nX-Sum: 1\r\n\r\n"
    assert status(connect(app, trailers, "Trailer: X-Sum")) == 201
    assert status(connect(app, trailers)) == 400  # the server cannot tell them from a body that broke off
