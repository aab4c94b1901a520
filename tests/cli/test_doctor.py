"""`catchment doctor`: each check finds what it is for, clean traffic passes, and a build can rely on the answer."""

import asyncio
import json
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catchment import config, wiring
from catchment.books import Books
from catchment.cli.commands import run
from catchment.doctor import CHECKS, QUERIES, SAMPLED_EVENTS_MAX, Report, examine
from catchment.record import EventRecord, encode_lines
from catchment.store import queries
from catchment.store.store import QueryError, Rows
from tests.conftest import AppOf, until, write_apps

CARD = "4111 1111 1111 1111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


def at(seconds: float) -> str:
    """A moment so many seconds from now, as a client writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def action(**members: Any) -> dict[str, Any]:
    """One that nothing is to be said about."""
    sound = {"action_name": "A", "user_id": "u-1", "transaction_id": str(uuid.uuid4()), "request": {"time": at(0)}}
    return sound | members


def call(**request: Any) -> dict[str, Any]:
    sound = {"time": at(0), "uri": "https://shop.example/items/1", "verb": "GET", "headers": {}}
    return {"request": sound | request, "user_id": "u-1", "transaction_id": str(uuid.uuid4())}


def moloco(**members: Any) -> dict[str, Any]:
    sound = {"id": str(uuid.uuid4()), "event_type": "HOME", "channel_type": "SITE", "user_id": "u-1"}
    return sound | {"timestamp": time.time_ns() // 1_000_000} | members


def actions(*bodies: dict[str, Any]) -> Callable[[AppOf], None]:
    return lambda app: sent(app.moesif("/v1/actions/batch", list(bodies)).status_code)


def calls(body: dict[str, Any]) -> Callable[[AppOf], None]:
    return lambda app: sent(app.moesif("/v1/events", body).status_code)


def user_events(body: dict[str, Any]) -> Callable[[AppOf], None]:
    return lambda app: sent(app.post(app.moloco_path, body, app.moloco_headers).status_code)


def trigger_events(name: str) -> Callable[[AppOf], None]:
    body = {"events": [{"name": name}]}
    return lambda app: sent(app.post(f"{app.batch_path}/u-1", body, app.batch_headers).status_code)


def stored(**fields: Any) -> Callable[[AppOf], None]:
    """A record in the log, where the settings of the shared server would not let it through."""

    def send(app: AppOf) -> None:
        record = EventRecord(
            app=app.name,
            source="batch",
            kind="event",
            event_id=str(uuid.uuid4()),
            received_us=time.time_ns() // 1000,
            payload="{}",
            name="ue.a",
            time=datetime.now(UTC),
            user_id="u-1",
        )
        for name, value in fields.items():
            setattr(record, name, value)
        asyncio.run(append(app, record))

    return send


async def append(app: AppOf, record: EventRecord) -> None:
    data_dir = app.server.data_dir
    log = wiring.log_writer(config.load(data_dir), data_dir, asyncio.get_running_loop())
    Books().enter([record])
    await log.append(encode_lines([record]))
    await log.close()


def sent(status: int) -> None:
    assert status in (200, 201), status


def refused(app: AppOf) -> None:
    assert app.moesif("/v1/actions", {"user_id": "u"}).status_code == 400
    app.rejections(1)


PURCHASE = {"event_type": "PURCHASE", "items": [{"id": "i", "price": {"currency": "USD", "amount": 1}, "quantity": 1}]}
REVENUE = {"revenue": {"currency": "USD", "amount": 1}}
TRIPS: dict[str, tuple[Callable[[AppOf], None], str]] = {
    "refused": (refused, "400 missing_field: required field `action_name` is missing, at $.action_name"),
    "placeholder_id": (actions(action(company_id="Undefined")), "company_id = Undefined"),
    "time_in_seconds": (user_events(moloco(timestamp=1632418357)), "1970-01-19 21:26:58.357000"),
    "time_ahead": (actions(action(request={"time": at(3600)})), " s ahead"),
    "outside_window": (actions(action(request={"time": at(-8 * 86400)})), "192 hours old"),
    "clock_ahead": (lambda app: actions(*[action(request={"time": at(30)}) for _ in range(10)])(app), ": median "),
    "clock_behind": (lambda app: actions(*[action(request={"time": at(-300)}) for _ in range(10)])(app), ": median 3"),
    "no_transaction_id": (actions({"action_name": "A", "user_id": "u-1", "request": {}}), ""),
    "no_id": (user_events({key: value for key, value in moloco().items() if key != "id"}), ""),
    "card_number": (actions(action(metadata={"note": f"paid with {CARD}"})), "411111******1111"),
    "secret_value": (calls(call(body={"user": "x", "Password": "geheim"})), "Password: 6 characters"),
    "secret_in_uri": (calls(call(uri="https://x.example/a?b=1&access_token=abcdefgh")), "access_token=, 8 characters"),
    "token_in_text": (actions(action(metadata={"login": JWT})), f"eyJ..., {len(JWT)} characters"),
    "secret_key": (actions(action(metadata={"k": "AKIAIOSFODNN7EXAMPLE"})), "AKIA..., 20 characters"),
    "batch_name_long": (trigger_events("ue." + "x" * 31), "31 characters"),
    "batch_user_id_long": (stored(user_id="u" * 1025), "1025 characters"),
    "moloco_id_long": (user_events(moloco(custom_id="c" * 129)), "custom_id or session_id of 129 characters"),
    "moloco_page_id_long": (user_events(moloco(page_id="p" * 129)), "129 characters"),
    "purchase_without_revenue": (user_events(moloco(**PURCHASE)), ""),
    "purchase_without_price": (user_events(moloco(**PURCHASE, **REVENUE) | {"items": [{"id": "i"}]}), ""),
    "truncated": (stored(source="moesif", kind="api_call", uri="https://x", truncated=True), ""),
    "uri_without_host": (calls(call(uri="/items/1?a=b")), "/items/1"),
    "type_flips": (
        actions(*[action(metadata={"n": value, "m": value}) for value in (1, 2.5, "3")]),
        "n is number or text",
    ),
    "nobody": (actions({key: value for key, value in action().items() if key != "user_id"}), ""),
    "never_identified": (
        actions(action(anonymous_id="a-1", user_id=None), action(anonymous_id="a-2", user_id="u-2")),
        "1 visitors",
    ),
}


def settle(app: AppOf) -> None:
    until(lambda: app.server.api.get("/api/status").json()["lag"]["unread_bytes"] == 0, within_s=60)


def examined(app: AppOf, capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> dict[str, Any]:
    arguments = ["doctor", "--app", app.name, "--format", "json", "--data-dir", str(app.server.data_dir), *options]
    assert run(arguments) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def clean(app: AppOf) -> None:
    actions(action(), action(metadata={"order": "4111111111111112", "at": "1772445600000", "n": 1}))(app)
    actions(action(session_token="abc", request={"time": at(0), "headers": {"Authorization": f"Bearer {JWT}"}}))(app)
    calls(call(headers={"X-Api-Key": "secret123"}, body={"password": "[REDACTED]", "secret": "****"}))(app)
    user_events(moloco(**PURCHASE, **REVENUE))(app)
    trigger_events("ue." + "x" * 30)(app)
    settle(app)


@pytest.mark.parametrize("code", TRIPS)
def test_a_check_finds_what_it_is_for_and_nothing_else(
    app: AppOf, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    trip, detail = TRIPS[code]
    trip(app)
    settle(app)
    [finding] = examined(app, capsys)["findings"]
    assert finding["code"] == code
    assert detail in finding["example"]["detail"]
    assert (finding["app"], finding["found"] >= 1, finding["of"] >= finding["found"]) == (app.name, True, True)
    assert 0 < finding["share"] <= 1


def test_no_check_is_without_a_test() -> None:
    assert list(TRIPS) == [check.code for check in CHECKS]


def test_every_code_of_the_queries_is_a_check() -> None:
    codes = set()
    for name in QUERIES:
        codes |= set(re.findall(r", '([a-z_]+)', ''\)|^    '([a-z_]+)' AS code|'(clock_[a-z]+)'|^ +'([a-z_]+)', ''\)",
                                queries.text(name), re.MULTILINE))  # fmt: skip
    assert {code for groups in codes for code in groups if code} == {check.code for check in CHECKS}


def test_clean_traffic_passes(app: AppOf, capsys: pytest.CaptureFixture[str]) -> None:
    clean(app)
    found = examined(app, capsys, "--strict")
    assert (found["findings"], found["skipped"], found["passed"], found["events"]) == ([], {}, True, 6)
    assert run(["doctor", "--app", app.name, "--data-dir", str(app.server.data_dir)]) == 0
    assert capsys.readouterr().out == (
        "Looked at 6 events and 0 refused calls of the last 60 minutes.\n\nNothing to mend: well done.\n"
    )


def test_no_traffic_passes_no_build(app: AppOf, capsys: pytest.CaptureFixture[str]) -> None:
    assert examined(app, capsys)["findings"] == []
    examined(app, capsys, "--strict", code=1)
    assert run(["doctor", "--app", app.name, "--minutes", "1", "--data-dir", str(app.server.data_dir)]) == 0
    assert capsys.readouterr().out.startswith("No traffic in the last minute: nothing to look at.")


def test_strict_fails_on_a_warning_and_not_on_an_info(app: AppOf, capsys: pytest.CaptureFixture[str]) -> None:
    TRIPS["nobody"][0](app)
    settle(app)
    assert examined(app, capsys, "--strict")["passed"]
    TRIPS["no_transaction_id"][0](app)
    settle(app)
    assert not examined(app, capsys, "--strict", code=1)["passed"]
    examined(app, capsys)


def test_a_person_reads_what_why_and_what_to_do(app: AppOf, capsys: pytest.CaptureFixture[str]) -> None:
    actions(*[action(metadata={"note": CARD}) for _ in range(2)], action())(app)
    settle(app)
    assert run(["doctor", "--app", app.name, "--data-dir", str(app.server.data_dir)]) == 0
    shown = capsys.readouterr().out
    assert "error    card_number  a text looks like a card number\n" in shown
    assert f"         {app.name}, moesif: 2 of 3 (66.7 %)\n" in shown
    assert "411111******1111\n         mend     take it out" in shown
    assert shown.endswith("1 error, 0 warnings, 0 info.\n")
    assert CARD not in shown


def test_a_source_is_looked_at_alone(app: AppOf, capsys: pytest.CaptureFixture[str]) -> None:
    TRIPS["no_id"][0](app)
    TRIPS["no_transaction_id"][0](app)
    settle(app)
    [finding] = examined(app, capsys, "--source", "moloco")["findings"]
    assert finding["code"] == "no_id"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4111111111111111", True),
        ("5555-5555-5555-4444", True),
        ("378282246310005", True),
        ("4111111111111112", False),  # the check digit is wrong
        ("04111111111111111", False),  # a longer number
        ("id-4111111111111111", False),
        ("0.4111111111111111", False),
    ],
)
def test_a_card_number_is_told_by_its_check_digit(
    app: AppOf, capsys: pytest.CaptureFixture[str], text: str, found: bool
) -> None:
    actions(action(metadata={"note": text}))(app)
    settle(app)
    assert [finding["code"] for finding in examined(app, capsys)["findings"]] == ["card_number"] * found


# Without a server


def rows(*found: dict[str, Any]) -> Rows:
    return Rows([], list(found))


def test_where_there_is_much_to_read_texts_are_sampled() -> None:
    asked: dict[str, int] = {}

    def ask(query: str, parameters: Any) -> Rows:
        [name] = [name for name in (*QUERIES, "doctor_traffic") if queries.text(name) == query]
        if name == "doctor_traffic":
            return rows({"app": "a", "source": "moesif", "events": 1_000_001, "payload_bytes": 1, "refused": 0})
        asked[name] = parameters.get("every", 1)
        finding = {"app": "a", "source": "moesif", "found": 7, "event_id": "e", "name": "n", "detail": "d"}
        return rows(finding | {"code": "card_number"}) if name == "doctor_texts" else rows()

    report = examine(ask, minutes=60, app="", source="")
    every = -(-1_000_001 // SAMPLED_EVENTS_MAX)
    assert asked == dict.fromkeys(QUERIES, 1) | {"doctor_texts": every, "doctor_types": every}
    assert (report.every, report.findings[0].of) == (every, 1_000_001 // every)


def test_a_query_that_goes_over_its_bounds_is_told_and_fails_a_build() -> None:
    def ask(query: str, parameters: Any) -> Rows:
        if query == queries.text("doctor_traffic"):
            return rows({"app": "a", "source": "moesif", "events": 1, "payload_bytes": 1, "refused": 0})
        if query == queries.text("doctor_texts"):
            raise QueryError("too much memory")
        return rows()

    report = examine(ask, minutes=60, app="", source="")
    assert report.skipped == {"doctor_texts": "too much memory"}
    assert report.failed()
    assert not Report(1, 0, 1, [], {}).failed()


def test_a_stopped_server_is_looked_at_too(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    write_apps(tmp_path, ["default"])
    assert run(["doctor", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("No traffic in the last 60 minutes")
