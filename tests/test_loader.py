"""The loader between a log and a store that are made to fail."""

import json
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest

from catchment.loader import CANARY, Loader
from catchment.log.log import Backlog, Batch
from catchment.settings import Loader as LoaderSettings
from catchment.store.store import Answer, AskByName, StoreError


class ListLog:
    """A log of given batches; a batch comes again until it is committed."""

    def __init__(self, *batches: bytes) -> None:
        self.waiting = list(batches)

    def read(self, bytes_max: int) -> Batch | None:
        return Batch(self.waiting[0], None, 1) if self.waiting else None

    def commit(self, batch: Batch) -> None:
        assert batch.lines == self.waiting.pop(0)

    def backlog(self) -> Backlog:
        return Backlog(0, 0)

    def unreadable(self) -> list[str]:
        return []

    def unread_records(self) -> int:
        return sum(lines.count(b"\n") for lines in self.waiting)

    def tidy(self) -> None: ...

    def close(self) -> None: ...


class PickyStore:
    """Takes lines, but none that contain `poison`, and nothing at all while it is `down`."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.down = 0

    def insert(self, lines: bytes) -> None:
        if self.down:
            self.down -= 1
            raise StoreError("no room")
        if b"poison" in lines and b"rejection" not in lines:
            raise StoreError("cannot read this")
        self.lines += [line for line in lines.splitlines(keepends=True) if line != CANARY]

    def migrate(self) -> list[str]:
        return []

    def tables(self) -> list[dict[str, Any]]:
        raise AssertionError("the loader never asks")

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        raise AssertionError("the loader never asks")

    def asking(self) -> AbstractContextManager[AskByName]:
        raise AssertionError("the loader never asks")

    def close(self) -> None: ...


def line(number: int, text: str = "") -> bytes:
    return json.dumps({"app": "a", "source": "moesif", "event_id": str(number), "text": text}).encode() + b"\n"


def test_batches_are_loaded_and_committed_in_order() -> None:
    log, store = ListLog(line(1), line(2) + line(3)), PickyStore()
    loader = Loader(log, store, LoaderSettings())
    assert loader.step()
    assert loader.step()
    assert not loader.step()
    assert store.lines == [line(1), line(2), line(3)]
    assert log.waiting == []


def test_a_store_that_is_down_is_tried_again_until_it_works() -> None:
    log, store = ListLog(line(1)), PickyStore()
    store.down = 3
    loader = Loader(log, store, LoaderSettings())
    assert loader.step(threading.Event())
    assert store.lines == [line(1)]
    assert loader.progress.last_error == "no room"
    assert loader.progress.failing_since is None


def test_a_full_disk_makes_no_line_a_rejection() -> None:
    log, store = ListLog(line(1) + line(2)), PickyStore()
    insert, full = store.insert, iter([True] * 4)

    def insert_with_little_room(lines: bytes) -> None:
        if b"rejection" not in lines and lines != CANARY and next(full, False):
            raise StoreError("not enough space", passing=True)
        insert(lines)

    store.insert = insert_with_little_room  # type: ignore[method-assign]
    loader = Loader(log, store, LoaderSettings())
    assert loader.step(threading.Event())
    assert store.lines == [line(1), line(2)]
    assert loader.progress.unloadable_lines == 0


class TightStore(PickyStore):
    """Takes few lines at once, and for a while none but small ones of its own, since others have the memory."""

    def __init__(self, at_once_max: int, refusals: int) -> None:
        super().__init__()
        self.at_once_max = at_once_max
        self.refusals = refusals

    def insert(self, lines: bytes) -> None:
        if lines != CANARY and b"rejection" not in lines:
            self.refusals -= 1
            if self.refusals >= 0 or lines.count(b"\n") > self.at_once_max:
                raise StoreError("(total) memory limit exceeded", passing=True, divisible=True)
        super().insert(lines)


@pytest.mark.parametrize(("at_once_max", "refusals"), [(100, 3), (1, 0), (2, 6)])
def test_memory_that_others_took_makes_no_line_a_rejection(at_once_max: int, refusals: int) -> None:
    lines = [line(number) for number in range(7)]
    log, store = ListLog(b"".join(lines)), TightStore(at_once_max, refusals)
    loader = Loader(log, store, LoaderSettings())
    assert loader.step(threading.Event())
    assert sorted(set(store.lines)) == lines
    assert log.waiting == []
    assert loader.progress.unloadable_lines == 0


def test_a_line_that_the_store_cannot_take_is_set_aside_though_memory_is_short() -> None:
    log, store = ListLog(line(1) + line(2, "poison") + line(3)), TightStore(1, 0)
    loader = Loader(log, store, LoaderSettings())
    assert loader.step(threading.Event())
    assert loader.progress.unloadable_lines == 1
    assert {line(1), line(3)} < set(store.lines)


def test_nothing_is_committed_while_the_store_is_down() -> None:
    log, store = ListLog(line(1)), PickyStore()
    store.down = 10
    stop = threading.Event()
    stop.set()
    assert not Loader(log, store, LoaderSettings()).step(stop)
    assert log.waiting == [line(1)]
    assert store.lines == []


def test_a_log_that_cannot_be_read_or_committed_ends_an_attempt_and_not_the_loading(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("catchment.loader.RETRY_S_MAX", 0.01)
    log, store, stop = ListLog(line(1)), PickyStore(), threading.Event()
    failures = iter([OSError("disk full"), OSError("disk full")])
    commit = log.commit

    def failing_commit(batch: Batch) -> None:
        for failure in failures:
            raise failure
        commit(batch)
        stop.set()

    monkeypatch.setattr(log, "commit", failing_commit)
    loader = Loader(log, store, LoaderSettings())
    loader.run(stop)
    assert log.waiting == []
    assert loader.progress.failing_since is None
    assert "disk full" in caplog.text


@pytest.mark.parametrize("where", [0, 1, 6])
def test_a_line_that_the_store_cannot_take_is_kept_as_a_rejection_and_holds_up_nobody(where: int) -> None:
    lines = [line(number, "poison" if number == where else "") for number in range(7)]
    log, store = ListLog(b"".join(lines)), PickyStore()
    loader = Loader(log, store, LoaderSettings())
    assert loader.step()
    assert log.waiting == []
    good = [text for text in lines if b"poison" not in text]
    assert [text for text in store.lines if text in lines] == good
    [rejection] = [json.loads(text) for text in store.lines if text not in lines]
    assert (rejection["kind"], rejection["code"], rejection["reason"]) == (
        "rejection",
        "unloadable",
        "cannot read this",
    )
    assert rejection["payload"].encode() == lines[where]
    assert loader.progress.unloadable_lines == 1


def test_while_a_folder_cannot_be_read_it_is_not_caught_up_and_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    log = ListLog(line(1))
    loader = Loader(log, PickyStore(), LoaderSettings())
    began_at = loader.progress.caught_up_at = 1.0
    monkeypatch.setattr(log, "unreadable", lambda: ["a segment: a later version wrote it"])
    assert loader.step()
    assert not loader.step()
    assert loader.progress.caught_up_at == began_at
    assert loader.progress.failing_since is None
    monkeypatch.setattr(log, "unreadable", list)
    assert not loader.step()
    assert loader.progress.caught_up_at > began_at


def test_a_failure_is_over_once_the_log_can_be_read_though_there_is_nothing_to_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("catchment.loader.RETRY_S_MAX", 0.01)
    log, stop = ListLog(), threading.Event()
    loader = Loader(log, PickyStore(), LoaderSettings())
    failed: list[bool] = []

    def read(bytes_max: int) -> Batch | None:
        if not failed:
            failed.append(True)
            raise OSError("no folder can be read")
        failed.append(loader.progress.failing_since is not None)
        if len(failed) == 3:
            stop.set()
        return None

    monkeypatch.setattr(log, "read", read)
    loader.run(stop)
    assert failed[:3] == [True, True, False]
    assert loader.progress.last_error == "no folder can be read"
