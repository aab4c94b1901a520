"""So many a minute and no more: bounds on work and disk that somebody else could cause."""

import logging
import time
from collections.abc import Callable

_MINUTE_S = 60.0

logger = logging.getLogger(__name__)


class Allowance:
    """At most `per_minute_max` a minute, which may be changed at any time; the rest is only counted, and told once the
    minute is over: `what` is the end of that sentence, like `refusals were not stored`."""

    def __init__(self, per_minute_max: int, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute_max = per_minute_max
        self._what = what
        self._clock = clock
        self._minute_ends = 0.0
        self._taken = 0
        self.overflow = 0

    def take(self) -> bool:
        """Whether one more is allowed now."""
        now = self._clock()
        if now >= self._minute_ends:
            if self.overflow:
                logger.warning("edge: %d %s: too many a minute", self.overflow, self._what)
                self.overflow = 0
            self._minute_ends = now + _MINUTE_S
            self._taken = 0
        if self._taken >= self.per_minute_max:
            self.overflow += 1
            return False
        self._taken += 1
        return True
