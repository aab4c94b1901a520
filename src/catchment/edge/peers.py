"""The client's address: the TCP peer, or what a trusted proxy in front says it is."""

import ipaddress
from collections.abc import Iterable

from catchment.dialects.dialect import Headers


class Peers:
    """Believes `X-Forwarded-For` only as far as it was written by trusted proxies."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = [ipaddress.ip_network(text, strict=False) for text in trusted]

    def address(self, peer: str, headers: Headers) -> str:
        """`peer` is `host:port` as the server gives it."""
        host = peer.rpartition(":")[0].strip("[]")
        if not self._trusted:
            return host
        chain = [part.strip() for part in (headers.get("x-forwarded-for") or "").split(",") if part.strip()]
        while chain and self._is_trusted(host):
            host = chain.pop()
        return host

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)
