"""The contract of the store on its books: `LedgerContract`, like `StoreContract`."""

import random
from typing import Any

import pytest

from catchment.store.store import Store
from tests.store.contract import NOON, event, lines, update

MINUTE_US = 60_000_000


def ledger(store: Store) -> list[dict[str, Any]]:
    return store.query("SELECT * FROM ledger ORDER BY minute, app, source").rows


def page(**numbers: Any) -> dict[str, Any]:
    blank = dict.fromkeys(("received", "stored", "duplicate", "rejected", "late", "difference"), 0)
    return {"minute": "2025-11-22 12:00:00", "app": "a", "source": "moesif"} | blank | numbers


def tally(number: int, edge: str = "e", **fields: Any) -> dict[str, Any]:
    return {
        "app": "a",
        "source": "moesif",
        "kind": "tally",
        "received_us": NOON,
        "edge": edge,
        "tally": number,
    } | fields


def refusal(number: int, **fields: Any) -> dict[str, Any]:
    given = {"app": "a", "source": "moesif", "kind": "rejection", "event_id": f"r{number}", "payload": ""}
    return given | {"received_us": NOON + number, "status": 400, "code": "x"} | fields


class LedgerContract:
    """What every store promises."""

    @pytest.fixture
    def store(self) -> Store:
        pytest.fail("an implementation gives its own")

    def test_all_that_arrived_is_stored_a_duplicate_or_rejected(self, store: Store) -> None:
        store.insert(
            lines(
                event("1", edge="e", tally=2),
                event("2", received_us=NOON + 1, late=True),
                event("1", received_us=NOON + 2, edge="e", tally=3),
                update("u", {"k": 1}, 3, edge="e", tally=4),
                refusal(4, edge="e", tally=5),
                refusal(5, count=7, edge="e", tally=12),
            )
        )
        assert ledger(store) == [page(received=12, stored=3, duplicate=1, rejected=8, late=1)]

    def test_lines_that_are_loaded_again_count_once(self, store: Store) -> None:
        part = lines(event("1", edge="e", tally=1), update("u", {"k": 1}, 1, edge="e", tally=2), tally(2))
        for _ in range(3):
            store.insert(part)
        assert ledger(store) == [page(received=2, stored=2)]

    def test_the_processes_of_the_edge_add_up(self, store: Store) -> None:
        store.insert(
            lines(
                event("1", edge="e", tally=1),
                event("2", received_us=NOON + 1, edge="f", tally=1),
                event("3", received_us=NOON + MINUTE_US, edge="e", tally=1),
                event("4", app="b", edge="e", tally=1),
            )
        )
        assert [(row["minute"][11:16], row["app"], row["received"], row["difference"]) for row in ledger(store)] == [
            ("12:00", "a", 2, 0),
            ("12:00", "b", 1, 0),
            ("12:01", "a", 1, 0),
        ]

    def test_a_copy_from_another_minute_is_a_duplicate_there_whichever_is_loaded_first(self, store: Store) -> None:
        store.insert(lines(event("1", received_us=NOON + MINUTE_US, edge="e", tally=1)))
        store.insert(lines(event("1", edge="f", tally=1)))
        assert [(row["stored"], row["duplicate"], row["difference"]) for row in ledger(store)] == [(1, 0, 0), (0, 1, 0)]

    @pytest.mark.parametrize("lost", range(6))
    def test_a_record_that_is_lost_on_the_way_is_missed(self, store: Store, lost: int) -> None:
        records = [
            event("1", edge="e", tally=1),
            event("2", received_us=NOON + 1, edge="e", tally=3),
            event("3", received_us=NOON + 2),
            refusal(3, edge="e", tally=4),
            update("u", {"k": 1}, 4, edge="e", tally=5),
            event("1", received_us=NOON + 5, edge="e", tally=6),
        ]
        del records[lost]
        store.insert(lines(*records, tally(6)))
        [row] = ledger(store)
        assert (row["received"], row["difference"]) == (6, 1)

    def test_the_books_balance_after_any_prefix_of_what_a_process_wrote(self, store: Store) -> None:
        chance, told = random.Random(20261122), 0
        for number in range(20):
            ids = [str(chance.randrange(30)) for _ in range(chance.choice((1, 1, 4)))]
            told += len(ids)
            part = [event(name, received_us=NOON + number * 10 + at) for at, name in enumerate(ids)]
            part[0] |= {"edge": "e", "tally": told}
            store.insert(lines(*part))
            [row] = ledger(store)
            assert (row["received"], row["difference"]) == (told, 0)
