"""A core that has come up and does not answer any more: somebody is told, and that is all.

It is not ended, for it may be busy with something that would begin anew. What is asked is `/health/live`, which a core
answers from its event loop, however long a query, an insert or a removal takes in its threads. A core that is dead or
just starting, at a migration say, has no open port: that is a refusal, not silence, and others tell of it.

What counts are asks without an answer, one after the other, not the time between them: where the whole machine was
suspended, nobody asked.
"""

import http.client
import logging
import threading
import time
from collections.abc import Callable

ASK_WITHIN_S = 4.0
ASKS_MAX = 2
TOLD_EVERY_S = 60.0
_LOOK_S = 3.0

logger = logging.getLogger(__name__)


class SilenceWatch:
    """`ask` asks the core, and raises `TimeoutError` where nothing came in so many seconds, and another error where
    nobody was there to be asked. `core` is its process, if there is one."""

    def __init__(
        self,
        ask: Callable[[float], object],
        core: Callable[[], int | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._core = core
        self._clock = clock
        self._stop = threading.Event()  # never set by a handler of signals
        self._asks = 0  # without an answer
        self._since = 0.0
        self._told_at: float | None = None

    def start(self) -> None:
        """Looks from now on, in a thread, until `stop`."""
        threading.Thread(target=self._run, name="silence-watch", daemon=True).start()

    def stop(self) -> None:
        """Nothing more is told: a core that is to end answers no more."""
        self._stop.set()

    def look(self) -> None:
        """Asks once."""
        began, core = self._clock(), self._core()
        try:
            self._ask(ASK_WITHIN_S)
        except TimeoutError:
            self._note_silence(began, core)
        except (OSError, http.client.HTTPException):
            self._asks = 0
        else:
            self._note_answer(core)

    def _note_silence(self, began: float, core: int | None) -> None:
        if not self._asks:
            self._since = began
        self._asks += 1
        now = self._clock()
        late = self._told_at is None or now >= self._told_at + TOLD_EVERY_S
        if self._asks < ASKS_MAX or not late or self._stop.is_set():
            return
        self._told_at = now
        logger.warning(
            "core: process %s has not answered for %.0f s. What is accepted meanwhile waits in the log. It is left"
            " alone, for it may be busy; if it does not come back, end it with `kill -9 %s`: it is started again, and"
            " nothing is lost",
            core,
            now - self._since,
            core,
        )

    def _note_answer(self, core: int | None) -> None:
        if self._told_at is not None:
            logger.info("core: process %s answers again, after %.0f s", core, self._clock() - self._since)
        self._asks, self._told_at = 0, None

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                self.look()
            except Exception:
                logger.exception("serve: defect while looking whether the core answers")
