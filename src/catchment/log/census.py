"""How many records stand in some spans of the log, without reading much: the ends of lines are counted.

Up to `COUNTED_BYTES_MAX` are counted, which takes some ten milliseconds; of more, as many of each span as its share is,
and the rest is taken to be like it.
"""

from collections.abc import Sequence
from pathlib import Path

from catchment.log.disk import Disk

COUNTED_BYTES_MAX = 16 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_NO_RECORDS = (b'\n{"commit', b'\n{"segmen', b'\n{"sealed')  # the log's own lines; a record begins with `{"app":`
_OVERLAP_BYTES = len(_NO_RECORDS[0]) - 1  # so that each is met once where it lies over the end of a piece

Span = tuple[Path, int, int]  # a file, and where in it the span begins and ends


def records_behind(disk: Disk, spans: Sequence[Span]) -> int:
    """The records in these spans, each of which begins where a group begins. What cannot be read counts nothing."""
    size = sum(end - begin for _, begin, end in spans)
    share = min(1.0, COUNTED_BYTES_MAX / size) if size else 1.0
    return round(sum(_count(disk, path, begin, end, share) for path, begin, end in spans))


def _count(disk: Disk, path: Path, begin: int, end: int, share: float) -> float:
    wanted = end - begin if share == 1.0 else max(1, int((end - begin) * share))
    counted = lines = 0
    text = b"\n"  # what the first line begins behind
    while counted < wanted:
        try:
            piece = disk.read(path, begin + counted, min(_PIECE_BYTES, wanted - counted))
        except OSError:
            break
        if not piece:
            break
        counted += len(piece)
        text = text[-_OVERLAP_BYTES:] + piece
        lines += piece.count(b"\n") - sum(text.count(mark) for mark in _NO_RECORDS)
    return max(0, lines) * ((end - begin) / counted if counted and share < 1.0 else 1.0)
