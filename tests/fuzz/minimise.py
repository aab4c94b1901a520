"""Chooses the inputs that are worth keeping: the shortest that together reach every line and step that all reach."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import catchment
from tests.fuzz.target import Target

_CODE = str(Path(catchment.__file__).parent)
Step = tuple[str, int, int]  # a file, and the lines that one step of the program led from and to


def steps_of(target: Target, data: bytes) -> set[Step]:
    """The steps within Catchment that the target makes of the input."""
    steps: set[Step] = set()

    def entered(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_CODE):
            return None
        last = frame.f_lineno

        def went(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            steps.add((name, last, frame.f_lineno))
            last = frame.f_lineno
            return went

        return went

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        target.run(data)
    finally:
        sys.settrace(before)
    return steps


def minimised(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Those inputs, short ones first, of which each reaches what none before it does; beyond the target's seeds."""
    reached: set[Step] = set()
    for seed in target.seeds:
        reached |= steps_of(target, seed)
    kept = []
    for data in sorted(set(inputs), key=lambda text: (len(text), text)):
        steps = steps_of(target, data)
        if not steps <= reached:
            kept.append(data)
            reached |= steps
    return kept
