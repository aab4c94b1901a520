"""Where a server listens: found out, and refused with what to do, before anything is started."""

import errno
import socket
import time

from catchment.errors import CannotServe
from catchment.settings import Settings

_POLL_S = 0.1
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104


def listening_addresses(settings: Settings, *, patience_s: float) -> dict[str, tuple[str, int]]:
    """Where both parts are to listen. Raises `CannotServe` if they cannot."""
    ingest, console = settings.ingest, settings.console
    deadline = time.monotonic() + patience_s
    addresses = {
        "ingest": _free_address(ingest.host, ingest.port, "--", deadline=deadline),
        "console": _free_address(console.host, console.port, "--console-", deadline=deadline),
    }
    hosts, ports = ({address[part] for address in addresses.values()} for part in (0, 1))
    if len(ports) == 1 and (len(hosts) == 1 or not _EVERYWHERE.isdisjoint(hosts)):
        raise CannotServe(f"SDKs and the console cannot share port {ingest.port}; choose another with --console-port")
    return addresses


def _free_address(host: str, port: int, options: str, *, deadline: float) -> tuple[str, int]:
    """The IP address of `host`, and `port`, or a free one where it is 0. Raises `CannotServe` if it is taken."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CannotServe(f"{host!r} is not an address: {reason}; choose another with {options}host") from None
    family, _, _, _, (address, *_) = min(found, key=lambda one: one[0] != socket.AF_INET)
    while True:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if time.monotonic() >= deadline or error.errno != errno.EADDRINUSE:
                    raise CannotServe(_refusal(host, port, error, options)) from None
            else:
                return str(address), int(probe.getsockname()[1])
        time.sleep(_POLL_S)


def _refusal(host: str, port: int, error: OSError, options: str) -> str:
    wanted = f"cannot listen on {host}:{port}: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return f"{wanted}; stop what listens there, or choose another with {options}port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{wanted}; choose an address of this machine with {options}host"
    return f"{wanted}; choose another with {options}port"


def url_of(host: str, port: int, *, tls: bool) -> str:
    """Where a client on this machine reaches it."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{'https' if tls else 'http'}://{reachable}:{port}"
