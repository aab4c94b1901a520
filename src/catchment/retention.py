"""What is older than it is kept goes: once a day, when a day of UTC has ended, and when the core starts.

The settings say for how many days (`settings/retention.py`); they are read afresh each time, so a change needs no
restart. `store/expiry.py` removes. What counts is the arrival, never the sender's clock.

A clock that is wrong by years would cost everything. So where it has gone further ahead than time has passed, nothing
is removed until it has stayed so for an hour. What a core compares with when it starts must not have been stamped while
the clock was in doubt, as arrivals may be: it is when the last pass began, for that one was believed.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from catchment.settings import App, Settings
from catchment.store.expiry import Cutoffs, Removed
from catchment.store.store import StoreError

DAY_S = 86_400
LOOK_S = 30.0
RETRY_S = 600.0
LEAP_S = 3600.0  # so far ahead of the time that has passed, a clock is not believed at once
QUIET_S = 2 * DAY_S  # nor at the start, where no pass was made for so long
SETTLE_S = 3600.0

logger = logging.getLogger(__name__)


class Remove(Protocol):
    """See `Expiry.remove`."""

    def __call__(self, cutoffs: Sequence[Cutoffs], stop: threading.Event, /, *, at: float) -> Removed | None: ...


def cutoffs(settings: Settings, now: float) -> list[Cutoffs]:
    """From when on things are kept at `now`; of everything that is not kept for ever."""
    midnight = int(now // DAY_S) * DAY_S
    found = [
        Cutoffs(
            name,
            source,
            events=_moment(midnight, rule.events_days),
            rejections=_moment(midnight, rule.rejections_days),
            bodies=_moment(midnight, getattr(rule, "bodies_days", 0)),
        )
        for name, app in settings.apps.items()
        for source in App.model_fields
        if (rule := getattr(getattr(app, source), "retention", None)) is not None
    ]
    found.append(Cutoffs("", "", rejections=_moment(midnight, settings.retention.unauthenticated_days)))
    return [of_source for of_source in found if any(of_source[2:])]


def _moment(midnight: int, days: int) -> int:
    return max(0, midnight - days * DAY_S) if days else 0


class Retention:
    """One thread calls `run`. `load` gives the settings as they are now. `known_moment` gives when the last pass began,
    or where there was none, when the last record arrived: in seconds since 1970, 0 where nothing is known."""

    def __init__(
        self,
        load: Callable[[], Settings],
        remove: Remove,
        known_moment: Callable[[], float],
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._remove = remove
        self._known_moment = known_moment
        self._clock = clock
        self._steady = steady
        self._day_done = -1.0
        self._looked_at: tuple[float, float] | None = None
        self._not_before = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Looks at once and then again and again, until `stop` is set."""
        while not stop.is_set():
            try:
                self.look(stop)
            except Exception as error:
                if isinstance(error, StoreError):
                    logger.error("retention: nothing more is removed for %.0f minutes: %s", RETRY_S / 60, error)
                else:
                    logger.exception("retention: defect; the next try follows in %.0f minutes", RETRY_S / 60)
                self._not_before = self._steady() + RETRY_S
            stop.wait(LOOK_S)

    def look(self, stop: threading.Event) -> None:
        """Removes what is too old, if that was not done today. Raises what `load`, `remove` and `known_moment` do."""
        now, steady = self._clock(), self._steady()
        self._watch_clock(now, steady)
        if steady < self._not_before or now // DAY_S == self._day_done:
            return
        removed = self._remove(cutoffs(self._load(), now), stop, at=now)
        if removed is not None:
            self._day_done = now // DAY_S
            _tell(removed)

    def _watch_clock(self, now: float, steady: float) -> None:
        if self._looked_at is None:
            ahead = now - (self._known_moment() or now)
            doubtful = ahead > QUIET_S
        else:
            ahead = (now - self._looked_at[0]) - (steady - self._looked_at[1])
            doubtful = ahead > LEAP_S
        self._looked_at = now, steady
        if doubtful:
            self._not_before = steady + SETTLE_S
            logger.warning(
                "retention: by the clock, %.1f days have passed in which nothing was seen; if it is right, what is too"
                " old is removed in %.0f minutes",
                ahead / DAY_S,
                SETTLE_S / 60,
            )


def _tell(removed: Removed) -> None:
    if removed.events or removed.bodies or removed.rejections:
        logger.info(
            "retention: removed %d events, the bodies of %d API calls and %d rejections",
            removed.events,
            removed.bodies,
            removed.rejections,
        )
