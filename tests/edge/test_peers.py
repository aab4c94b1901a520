"""Whose address an event gets, behind proxies of every kind: no sender chooses it."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomlkit

from catchment import config
from catchment.edge.peers import Peers
from tests.conftest import AppOf, Server, write_apps
from tests.edge.test_app import Fields

PROXY, CLIENT, FORGED = "192.0.2.1", "203.0.113.9", "6.6.6.6"
ACTION = b'{"action_name": "A", "request": {"uri": "https://x/y"}}'


def address(
    *lines: str, peer: str = PROXY + ":5000", trusted: tuple[str, ...] = ("192.0.2.0/24", "2001:db8::/32")
) -> str:
    headers = Fields({"x-forwarded-for": lines[0]} if lines else {})
    headers.lines = list(lines)
    return Peers(trusted).address(peer, headers)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((), PROXY),
        (("",), PROXY),
        ((CLIENT,), CLIENT),
        ((f"{FORGED}, {CLIENT}",), CLIENT),
        ((FORGED, CLIENT), CLIENT),
        ((f"{FORGED}, 7.7.7.7", f"{CLIENT}, 192.0.2.3", "192.0.2.2"), CLIENT),
        ((FORGED, f" {CLIENT} ,", ""), CLIENT),
        (("192.0.2.3, 192.0.2.2",), "192.0.2.3"),
        (("2001:db8::1, 2001:db9::1", "2001:db8::2"), "2001:db9::1"),
    ],
)
def test_it_is_the_last_that_no_trusted_proxy_has_over_all_lines(lines: tuple[str, ...], found: str) -> None:
    assert address(*lines) == found


def test_an_ipv4_address_is_one_also_where_it_came_over_a_socket_of_ipv6() -> None:
    peer = f"[::ffff:{PROXY}]:5000"
    assert address(peer=peer) == PROXY
    assert address(FORGED, CLIENT, peer=peer) == CLIENT
    assert address(f"{FORGED}, ::ffff:{CLIENT}, ::ffff:192.0.2.2", peer=peer) == CLIENT
    assert address(CLIENT, peer="[2001:db9::ffff:1]:5000") == "2001:db9::ffff:1"


@pytest.mark.parametrize(
    "said", ["unknown", "_hidden", "<script>", "203.0.113", "203.0.113.9.1", "fe80::1%x", "[", "a:1"]
)
def test_what_is_no_address_is_not_believed(said: str) -> None:
    assert address(FORGED, said) == PROXY
    assert address(f"{FORGED}, {said}, 192.0.2.2") == PROXY


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (CLIENT + ":4711", CLIENT),
        ("[2001:db9::1]:4711", "2001:db9::1"),
        ("[2001:db9::1]", "2001:db9::1"),
        (CLIENT + ", 192.0.2.2:80", CLIENT),
    ],
)
def test_a_port_beside_it_is_left_out(said: str, found: str) -> None:
    assert address(FORGED, said) == found


def test_a_list_without_end_costs_little_and_forges_nothing() -> None:
    assert address(FORGED, "," * 30_000) == PROXY
    assert address(FORGED, ", ".join(["192.0.2.2"] * 100)) == PROXY


def test_of_others_than_trusted_proxies_nothing_is_believed() -> None:
    assert address(CLIENT, peer="198.51.100.1:5000") == "198.51.100.1"
    assert address(CLIENT, trusted=()) == PROXY
    assert address(CLIENT, peer="[2001:db8::5]:5000") == CLIENT


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Server]:
    """A server that trusts a proxy on this machine."""
    write_apps(tmp_path, ["default", "app0"])
    file = tmp_path / config.FILE_NAME
    document: Any = tomlkit.parse(file.read_text())
    document["ingest"] = {"trusted_proxies": ["127.0.0.1"]}
    file.write_text(tomlkit.dumps(document))
    server = Server(tmp_path, "--workers", "1")
    yield server
    assert server.stop() == 0


def test_a_line_of_the_sender_before_that_of_the_proxy_forges_no_address(proxied: Server) -> None:
    app = AppOf(proxied, "app0")
    url = httpx.URL(proxied.ingest)
    lines = [
        "POST /v1/actions HTTP/1.1",
        "Host: x",
        f"Content-Length: {len(ACTION)}",
        *(f"{name}: {value}" for name, value in app.moesif_headers.items()),
        f"X-Forwarded-For: {FORGED}",
        f"X-Forwarded-For: {CLIENT}",
    ]
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + ACTION)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
    [event] = app.events(1)
    assert event["ip"] == CLIENT
