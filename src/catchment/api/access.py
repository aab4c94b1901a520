"""Who may ask: the bearer of the console's token, and whoever can read `run.json` in the data dir.

Only hashes are here, and they are compared in a time that does not tell how much of one was right. Wrong tokens are
counted by address: after some in a minute, that address is answered 429 and its token is not even looked at, so
nobody can guess. The commands on this machine go by the secret of this run, which the supervisor makes and which is
not counted: whoever guesses cannot lock them out.

A token comes in the header `Authorization` and no other way. A browser never adds that header by itself, as it does
cookies, so no page can make one ask in somebody's name.
"""

import hmac
import ipaddress
import logging
import threading
import time
from collections.abc import Callable

from catchment.config import ConfigError
from catchment.settings import Console
from catchment.tokens import token_hash
from catchment.watch import LOOK_S, FileWatch

PEERS_MAX = 1024
_MINUTE_S = 60.0
_OTHERS = "others"
_NETWORK_BITS = 64  # of an IPv6 address; the rest its user may choose at will

logger = logging.getLogger(__name__)


class NotAllowed(Exception):
    """Who asks may not, or not now: 401, or 429 where `wait_s` tells for how long."""

    def __init__(self, wait_s: int = 0) -> None:
        super().__init__()
        self.wait_s = wait_s


class FailedLogins:
    """Wrong tokens of the last minute by address. Of more than `PEERS_MAX` addresses at a time, the others count as
    one, so nobody can make it grow. `clock` gives seconds."""

    def __init__(self, per_minute_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute_max = per_minute_max
        self._clock = clock
        self._peers: dict[str, tuple[int, float]] = {}  # how many, and when they are forgotten

    def wait_s(self, address: str) -> int:
        """Seconds until the address may try again; 0 if it may now."""
        count, ends = self._peers.get(self._peer(address), (0, 0.0))
        left = ends - self._clock()
        return max(1, round(left)) if count >= self._per_minute_max and left > 0 else 0

    def note(self, address: str) -> None:
        """Counts one."""
        now, peer = self._clock(), self._peer(address)
        count, ends = self._peers.get(peer, (0, 0.0))
        self._peers[peer] = (count + 1, ends) if now < ends else (1, now + _MINUTE_S)

    def _peer(self, address: str) -> str:
        """Under what name the address is counted."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return _OTHERS
        bits = _NETWORK_BITS if parsed.version == 6 else parsed.max_prefixlen
        peer = str(ipaddress.ip_network((parsed, bits), strict=False))
        if peer not in self._peers and len(self._peers) >= PEERS_MAX:
            now = self._clock()
            self._peers = {name: found for name, found in self._peers.items() if now < found[1]}
            if len(self._peers) >= PEERS_MAX:
                return _OTHERS
        return peer


class Access:
    """The guard of one core. `run_hash` is that of the secret of this run, if it has one; `load` reads the settings
    again when `file` has changed."""

    def __init__(self, console: Console, run_hash: str | None, file: FileWatch, load: Callable[[], Console]) -> None:
        self._token = console.kept_hash
        self._run = run_hash
        self._failed = FailedLogins(console.failed_logins_per_minute_max)
        self._file = file
        self._load = load

    def check(self, authorization: str | None, address: str) -> None:
        """Raises `NotAllowed`."""
        scheme, _, given = (authorization or "").partition(" ")
        found = token_hash(given.strip()) if scheme.lower() == "bearer" else ""
        if self._run and hmac.compare_digest(found, self._run):
            return
        wait_s = self._failed.wait_s(address)
        if wait_s:
            raise NotAllowed(wait_s)
        if hmac.compare_digest(found, self._token):
            return
        if authorization:  # who sent nothing has guessed nothing
            self._failed.note(address)
        raise NotAllowed

    def run(self, stop: threading.Event) -> None:
        """Looks once a second until `stop` is set, in a thread that does nothing else: whoever asks, and however much,
        a token that was taken back is refused within seconds."""
        while not stop.wait(LOOK_S):
            try:
                self.look()
            except Exception:
                logger.exception("core: defect while looking for another token; the one in use stays until it is seen")

    def look(self) -> None:
        """Takes another token if the file has one now; a file with mistakes changes nothing, and the edge tells them.
        To be called once a second."""
        if not self._file.changed():
            return
        try:
            kept = self._load().kept_hash
        except ConfigError:
            return
        if kept != self._token:
            self._token = kept
            logger.info("core: took another token for the console's port; the one before is refused")
