"""How many records are behind: exactly while they are few, about while they are many."""

import random
from pathlib import Path

import pytest

from catchment.log import census
from catchment.log.census import records_behind
from catchment.log.disk import LocalDisk
from catchment.log.segment import Seal, group, header, seal


def line(size: int) -> bytes:
    return b'{"app":"a","payload":"%b"}\n' % (b"x" * size)


def segment(path: Path, sizes: list[list[int]]) -> int:
    """A sealed segment with such records in each group; how many bytes it has."""
    data = header("edge-0", 1) + b"".join(group(*(line(size) for size in sizes_)) for sizes_ in sizes)
    path.write_bytes(data + seal(Seal(len(data), 0, len(sizes) + 1)))
    return path.stat().st_size


@pytest.mark.parametrize("piece_bytes", [13, 50, 1024, 1 << 20])
def test_few_are_counted_wherever_a_read_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr(census, "_PIECE_BYTES", piece_bytes)
    chance = random.Random(7)
    for number in range(20):
        sizes = [[chance.randrange(40) for _ in range(chance.randrange(1, 4))] for _ in range(chance.randrange(6))]
        path = tmp_path / f"{number}"
        size = segment(path, sizes)
        assert records_behind(LocalDisk(), [(path, 0, size)]) == sum(map(len, sizes))


def test_only_what_stands_behind_the_position_counts(tmp_path: Path) -> None:
    path = tmp_path / "1"
    size = segment(path, [[5, 5], [5]])
    begin = len(header("edge-0", 1)) + len(group(line(5), line(5)))
    assert records_behind(LocalDisk(), [(path, begin, size)]) == 1
    assert records_behind(LocalDisk(), []) == 0


def test_of_many_a_share_of_each_file_tells_about_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "COUNTED_BYTES_MAX", 20_000)
    small, large = tmp_path / "1", tmp_path / "2"
    spans = [
        (small, 0, segment(small, [[10] * 10] * 300)),
        (large, 0, segment(large, [[1000]] * 500)),
    ]
    assert abs(records_behind(LocalDisk(), spans) - 3500) < 350


def test_what_cannot_be_read_counts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "1"
    size = segment(path, [[5]])
    assert records_behind(LocalDisk(), [(tmp_path / "gone", 0, 100), (path, 0, size)]) == 1
