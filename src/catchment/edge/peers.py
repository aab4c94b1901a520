"""The client's address: the TCP peer, or what a trusted proxy in front says it is.

A proxy writes whom it was called by behind what came with the call: into the same line of `X-Forwarded-For`, or into a
line of its own. So all lines are one list, of which the end is to be believed as far as trusted proxies wrote it; what
stands before, whoever sends can choose.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol, cast

from catchment.dialects.dialect import Headers

_FORWARDED_FOR = "x-forwarded-for"
_HOPS_MAX = 32
_MAPPED = "::ffff:"  # how a socket that listens on `::` tells an IPv4 address


class _Lines(Protocol):
    """What the server's headers can do besides; its stubs leave that out."""

    def get_all(self, key: str) -> list[str]: ...


class Peers:
    """Believes `X-Forwarded-For` only as far as it was written by trusted proxies."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = [ip_network(text, strict=False) for text in trusted]

    def address(self, peer: str, headers: Headers) -> str:
        """`peer` is `host:port` as the server gives it."""
        host = _unmapped(peer.rpartition(":")[0].strip("[]"))
        if not self._trusted or _FORWARDED_FOR not in headers or not self._is_trusted(_address(host)):
            return host
        found = host
        hops = ",".join(cast("_Lines", headers).get_all(_FORWARDED_FOR)).rsplit(",", _HOPS_MAX)
        for hop in reversed([hop.strip() for hop in hops]):
            if not hop:
                continue
            address = _address(hop)
            if address is None:
                return host
            found = str(address)
            if not self._is_trusted(address):
                break
        return found

    def _is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _unmapped(host: str) -> str:
    ipv4 = host.removeprefix(_MAPPED)
    return host if ":" in ipv4 else ipv4


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; None of anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text) if "%" not in text else None  # a zone is a word, and means something on one machine
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
