"""One target with inputs of Hypothesis's making, for machines that have no atheris: bytes of chance, and the known
inputs with a few of their parts changed. It does not see what an input reaches, so it finds less in the same time."""

import time
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.target import Target

_EXAMPLES_AT_ONCE = 200
_PARTS = st.binary(max_size=8) | st.sampled_from([b'"', b"{", b"}", b"[", b"]", b":", b",", b"null", b"-1", b"\n"])


class Find(NamedTuple):
    """The smallest input that Hypothesis found for a fault, and the fault."""

    data: bytes
    error: Exception


def inputs_of(target: Target, known: list[bytes]) -> st.SearchStrategy[bytes]:
    """Anything, or a known input, parts of which are replaced."""
    changes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 16), _PARTS), min_size=1, max_size=4)
    changed = st.builds(_changed, st.sampled_from(known or [b""]), changes)
    return (st.binary(max_size=200) | changed).map(lambda data: data[: target.bytes_max])


def _changed(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for where, length, part in changes:
        at = where % (len(data) + 1)
        data = data[:at] + part + data[at + length :]
    return data


def fuzz(target: Target, known: list[bytes], seconds: float, clock: Callable[[], float] = time.monotonic) -> int | Find:
    """How many inputs were fine within that time, or the first fault."""
    ends_at, runs, last = clock() + seconds, 0, b""

    @settings(
        max_examples=_EXAMPLES_AT_ONCE,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(data=inputs_of(target, known))
    def holds(data: bytes) -> None:
        nonlocal runs, last
        runs, last = runs + 1, data
        target.run(data)

    while True:
        try:
            holds()
        except Exception as error:
            return Find(last, error)
        if clock() >= ends_at:
            return runs
