"""What a full disk leaves of a part."""

from pathlib import Path

from catchment.store.room import is_whole


def part(folder: Path, **sizes: int) -> Path:
    folder.mkdir()
    for name, size in sizes.items():
        (folder / f"{name}.txt").write_bytes(b"x" * size)
    return folder


def test_a_part_is_broken_if_a_file_of_it_lacks_something(tmp_path: Path) -> None:
    whole = part(tmp_path / "all_1_2_1", checksums=300, columns=100, data=1000)
    short = part(tmp_path / "all_3_4_1", checksums=300, columns=100, data=999)
    empty = part(tmp_path / "all_5_6_1", checksums=0, columns=100, data=1000)
    gone = tmp_path / "all_7_8_1"
    assert [is_whole(folder, 1000) for folder in (whole, short, empty, gone)] == [True, False, False, True]
