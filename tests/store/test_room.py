"""Who notices what a full disk did to the engine, and what follows."""

from pathlib import Path

import pytest

from catchment.store.room import LOOK_S, PartsWatch, broken


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
    assert broken((folder, 1000) for folder in (whole, short, empty, gone)) == [short, empty]


def test_a_process_with_a_broken_part_ends_once(caplog: pytest.LogCaptureFixture) -> None:
    now, ended, found = 0.0, list[bool](), list[str]()
    watch = PartsWatch(lambda: found, lambda: ended.append(True), lambda: now)
    for at in range(1, 4):
        now = at * LOOK_S
        watch.look()
    assert not ended
    found.append("abc/all_1_2_1")
    watch.look()
    assert not ended, "it looks only now and then"
    for at in range(4, 7):
        now = at * LOOK_S
        watch.look()
    assert ended == [True]
    assert "abc/all_1_2_1" in caplog.text


def test_a_store_that_cannot_tell_now_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    now, asked = 0.0, 0

    def fail() -> list[str]:
        nonlocal asked
        asked += 1
        raise OSError("no answer")

    watch = PartsWatch(fail, lambda: pytest.fail("ended"), lambda: now)
    for at in range(3):
        now = at * LOOK_S
        watch.look()
    assert asked == 3
    assert "no answer" in caplog.text
