"""The verdict finds what it must find: each offence is planted once, and none is found where there is none."""

from collections.abc import Sequence
from typing import Any

import pytest

from catchment.torture.account import Account, State
from catchment.torture.calls import FORMS, mark
from catchment.torture.verdict import (
    DOUBLE,
    INVENTED,
    LOSS,
    REFUSED,
    TAKEN,
    Found,
    Verdict,
    judge,
    judge_books,
    judge_rejections,
    judge_strangers,
    judge_tested,
    look,
)

ACTION = next(number for number, form in enumerate(FORMS) if form.kind == "action")
BULK = next(number for number, form in enumerate(FORMS) if form.source == "batch")
PAGE = {"minute": "2026-03-02 10:00:00", "app": "default", "received": 9, "stored": 5, "duplicate": 3, "rejected": 1}


def an_account(client: int = 3) -> Account:
    """Ten actions and three trigger events, all acknowledged; then one action that was only sent, and one that was
    not."""
    account = Account(client)
    for form, count in ((ACTION, 10), (BULK, 3)):
        account.mark(account.begin(form, count), count, State.ACKNOWLEDGED)
    account.mark(account.begin(ACTION, 1), 1, State.SENT)
    account.begin(ACTION, 1)
    return account


def found(*numbers: int, client: int = 3, copies: int = 1) -> list[Found]:
    return [
        Found(mark(client, number), *(("batch", "event") if number in (10, 11, 12) else ("moesif", "action")), copies)
        for number in numbers
    ]


def judged(*rows: Sequence[Found], account: Account | None = None) -> Verdict:
    verdict = Verdict()
    judge(verdict, account or an_account(), [row for part in rows for row in part])
    return verdict


def test_all_that_was_acknowledged_and_nothing_else_passes() -> None:
    verdict = judged(found(*range(13)))
    assert verdict.passed
    total = verdict.total()
    assert (total.sent, total.acknowledged, total.found, total.lost) == (14, 13, 13, 0)


def test_what_was_sent_and_never_acknowledged_may_be_there() -> None:
    assert judged(found(*range(14))).passed


def test_an_acknowledged_event_that_is_not_there_is_lost() -> None:
    verdict = judged(found(*range(7), *range(8, 13)))
    assert not verdict.passed
    assert verdict.first == {LOSS: ["c3-7"]}
    assert verdict.tallies["moesif"].lost == 1


def test_an_event_that_is_there_twice_is_double() -> None:
    for rows in (found(4, copies=2), found(4) * 2):
        verdict = judged(found(*range(4), *range(5, 13)), rows)
        assert verdict.first == {DOUBLE: ["c3-4"]}
        assert verdict.tallies["moesif"].lost == 0


@pytest.mark.parametrize(
    "row",
    [
        Found("c3-14", "moesif", "action", 1),  # never sent whole
        Found("c3-15", "moesif", "action", 1),  # never begun
        Found("c4-1", "moesif", "action", 1),  # another client's
        Found("c3-", "moesif", "action", 1),
        Found("c3-13", "batch", "event", 1),  # sent as an action
    ],
)
def test_an_event_that_nobody_sent_is_invented(row: Found) -> None:
    verdict = judged(found(*range(13)), [row])
    assert list(verdict.offences.items()) == [(INVENTED, 1)]
    assert row.mark in verdict.first[INVENTED][0]


def test_an_event_without_a_mark_of_a_client_is_invented() -> None:
    verdict = Verdict()
    judge_strangers(verdict, [Found("", "moesif", "action", 3), Found("c9-1", "batch", "event", 1)], clients=8)
    assert verdict.offences[INVENTED] == 4


def test_a_sound_call_that_was_refused_and_a_bad_one_that_was_taken_are_offences() -> None:
    account = an_account()
    for number in range(20):
        account.refuse(number, 400)
    account.bad_taken.append("bad-c3-1")
    verdict = judged(found(*range(13)), account=account)
    assert (verdict.offences[REFUSED], verdict.offences[TAKEN]) == (20, 1)
    assert verdict.first[REFUSED][0] == "c3-0 (400)"


def test_books_that_do_not_balance_are_an_offence_whichever_way() -> None:
    verdict = Verdict()
    judge_books(verdict, [PAGE | {"source": "moesif", "difference": difference} for difference in (0, 2, -2)])
    assert not verdict.passed
    assert verdict.tallies["moesif"].difference == 4
    assert [row["difference"] for row in verdict.unbalanced] == [2, -2]


def test_rejections_are_those_of_bad_calls_and_no_others() -> None:
    account, verdict = an_account(), Verdict(broken_off=1)
    account.bad_sent = 2
    names = ["bad-c3-1", "bad-c3-2", "32: Input data was truncated"]
    judge_rejections(verdict, names, [account])
    assert (verdict.passed, verdict.bad_kept, verdict.broken_off_kept) == (True, 2, 1)
    judge_rejections(verdict, ["bad-c3-3", "bad-c4-1", "unloadable: no room", "c3-1", names[-1]], [account])
    assert verdict.offences[INVENTED] == 5


def test_a_vendor_of_which_nothing_was_acknowledged_was_not_tested() -> None:
    verdict = judged(found(*range(13)))
    judge_tested(verdict)
    assert not verdict.passed
    assert verdict.more == [
        "moloco: nothing was acknowledged, so nothing of it was tested; let it run longer, or at a higher --rate"
    ]
    for tally in verdict.tallies.values():
        tally.acknowledged = 1
    verdict.more.clear()
    judge_tested(verdict)
    assert verdict.passed


class _Answers:
    """A server that answers each query with what was planted, by a word of the query."""

    def __init__(self, **answers: list[dict[str, Any]]) -> None:
        self.answers = answers

    def sql(self, query: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        return next((rows for word, rows in self.answers.items() if f"{word.upper()}\n" in query.upper()), [])


def test_what_a_server_answers_is_judged() -> None:
    rows = [row._asdict() for row in found(*range(12), client=0)]
    verdict = look(_Answers(**{"from events": rows}), [an_account(0)])
    assert verdict.first == {LOSS: ["c0-12"]}
    assert [problem.split(":")[0] for problem in verdict.more] == ["moloco"]
