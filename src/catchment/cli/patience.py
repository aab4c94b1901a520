"""Waits for an answer for as long as whoever owes it shows signs of life.

A call that takes long is waited for; one to a process that hangs is given up within some 10 seconds, at whatever moment
it began to hang. The call runs in a thread, which goes on until its own timeout or the end of this process.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

LOOK_S = 0.5  # without an answer, until the next sign of life is asked for
SIGN_WITHIN_S = 2.0  # a core gives one however busy it is, unless it hangs
MISSES_MAX = 4  # a machine with far too much to do may keep it for some

Answer = TypeVar("Answer")


class NoSign(Exception):
    """So many signs of life in a row did not come."""


def patiently(call: Callable[[], Answer], is_alive: Callable[[], bool]) -> Answer:
    """What `call` gives or raises; `is_alive` tells within `SIGN_WITHIN_S`. Raises `NoSign`."""
    answer: Future[Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="call", daemon=True).start()
    missed = 0
    while missed < MISSES_MAX and not _is_there(answer):
        missed = 0 if is_alive() else missed + 1
    if not answer.done():
        raise NoSign
    return answer.result()


def _is_there(answer: Future[Answer]) -> bool:
    try:
        answer.exception(LOOK_S)
    except TimeoutError:
        return answer.done()
    return True
