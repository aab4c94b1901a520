"""camelCase beside snake_case on every endpoint, at the vendor's own places only (contracts/moesif.md 2.3, 6.20)."""

import re
from typing import Any

import pytest
from msgspec import Raw

from catchment.dialects.moesif.shapes import Action, ApiCall, Company, Subscription, User
from catchment.dialects.moesif.spelling import camel, canonical, names, pairs_of
from catchment.record import EventRecord, ProfileRecord
from tests.dialects.moesif_calls import (
    ACTION,
    CALL,
    HASHED,
    NOON,
    action,
    api_call,
    events,
    fault,
    leaves,
    payload,
    profile,
)

CAMPAIGN = {
    "utm_source": "1",
    "utm_medium": "2",
    "utm_campaign": "3",
    "utm_term": "4",
    "utm_content": "5",
    "referrer": "6",
    "referring_domain": "7",
    "gclid": "8",
}
KEPT = {"userId": 1, "user_id": {"ipAddress": 2, "utmSource": [{"planId": 3}]}}  # the customer's, whatever its names
WHOLE: dict[str, dict[str, Any]] = {
    "actions": {
        "action_name": "A",
        "transaction_id": "t",
        "session_token": "s",
        "user_id": "u",
        "anonymous_id": "a",
        "company_id": "c",
        "subscription_id": "sub",
        "request": {"time": NOON, "uri": "x", "ip_address": "1.2.3.4", "user_agent_string": "UA/1"},
        "metadata": KEPT,
    },
    "events": {
        "transaction_id": "t",
        "session_token": "s",
        "user_id": "u",
        "anonymous_id": "a",
        "company_id": "c",
        "subscription_id": "sub",
        "action_name": "A",
        "blocked_by": "b",
        "trace_id": "tr",
        "request": {
            "time": NOON,
            "uri": "x",
            "verb": "GET",
            "headers": {"userId": "1"},
            "ip_address": "1.2.3.4",
            "api_version": "1.0",
            "transfer_encoding": "base64",
            "content_length": 5,
            "body": KEPT,
        },
        "response": {"time": NOON, "status": 200, "transfer_encoding": "base64", "content_length": 5, "body": KEPT},
        "metadata": KEPT,
    },
    "users": {
        "user_id": "u",
        "anonymous_id": "a",
        "company_id": "c",
        "session_token": "s",
        "modified_time": NOON,
        "ip_address": "1.2.3.4",
        "user_agent_string": "UA/1",
        "campaign": CAMPAIGN,
        "metadata": KEPT,
    },
    "companies": {
        "company_id": "c",
        "company_domain": "d",
        "session_token": "s",
        "modified_time": NOON,
        "ip_address": "1.2.3.4",
        "campaign": CAMPAIGN,
        "metadata": KEPT,
    },
    "subscriptions": {
        "subscription_id": "sub",
        "company_id": "c",
        "current_period_start": NOON,
        "current_period_end": NOON,
        "status": "active",
        "items": [
            {
                "plan_id": "p",
                "subscription_item_id": "i",
                "price_id": "x",
                "unit_of_measure": "m",
                "created_at": NOON,
                "metadata": KEPT,
            }
        ],
        "metadata": KEPT,
    },
}


def in_camel_case(document: Any) -> Any:
    """The same, its names spelled in the other way where they are the vendor's."""
    if isinstance(document, list):
        return [in_camel_case(part) for part in document]
    if not isinstance(document, dict):
        return document
    whose = ("metadata", "body", "headers")
    return {camel(name): value if name in whose else in_camel_case(value) for name, value in document.items()}


def record_of(resource: str, body: Any) -> EventRecord | ProfileRecord:
    if resource in ("actions", "events"):
        (only,) = events(f"/v1/{resource}", body)
        return only
    return profile(resource, body)


@pytest.mark.parametrize("resource", WHOLE)
def test_20_an_element_in_camel_case_becomes_the_same_record(resource: str) -> None:
    sent = in_camel_case(WHOLE[resource])
    assert sent != WHOLE[resource]
    record, expected = record_of(resource, sent), record_of(resource, WHOLE[resource])
    as_sent, hashed = payload(record), {"sessionToken": HASHED("s")} if "sessionToken" in sent else {}
    assert as_sent == sent | hashed
    record.payload = expected.payload
    if isinstance(record, ProfileRecord):
        assert isinstance(expected, ProfileRecord)
        record.leaves, expected.leaves = sorted(record.leaves), sorted(expected.leaves)
    assert record == expected


@pytest.mark.parametrize("resource", WHOLE)
def test_20_each_name_counts_alone(resource: str) -> None:
    expected = record_of(resource, WHOLE[resource])
    for name, value in WHOLE[resource].items():
        body = {other: member for other, member in WHOLE[resource].items() if other != name} | {camel(name): value}
        record = record_of(resource, body)
        record.payload = expected.payload
        if isinstance(record, ProfileRecord):
            record.leaves = sorted(record.leaves)
            assert isinstance(expected, ProfileRecord)
            expected.leaves = sorted(expected.leaves)
        assert record == expected, name


@pytest.mark.parametrize("resource", WHOLE)
def test_20_snake_case_wins_where_both_have_a_value(resource: str) -> None:
    def both(document: Any) -> Any:
        if isinstance(document, list):
            return [both(part) for part in document]
        if not isinstance(document, dict):
            return document
        made = {
            name: value if name in ("metadata", "body", "headers") else both(value) for name, value in document.items()
        }
        times = {"modified_time", "current_period_start", "current_period_end", "created_at"}
        others = {camel(name) for name, value in document.items() if "_" in name and name not in times and value != 5}
        return dict.fromkeys(others, "other") | made

    record, expected = record_of(resource, both(WHOLE[resource])), record_of(resource, WHOLE[resource])
    record.payload = expected.payload
    if isinstance(record, ProfileRecord):
        assert isinstance(expected, ProfileRecord)
        record.leaves, expected.leaves = sorted(record.leaves), sorted(expected.leaves)
    assert record == expected


def test_20_camel_case_counts_where_snake_case_is_null() -> None:
    assert action({"action_name": None, "actionName": "B", "user_id": None, "userId": "u"}).name == "B"
    assert api_call({"company_id": None, "companyId": "c"}).company_id == "c"
    only = profile("users", {"user_id": None, "userId": "u", "campaign": {"utm_term": None, "utmTerm": "t"}})
    assert (leaves(only)["user_id"], leaves(only)["campaign.utm_term"]) == ("u", "t")


def test_20_a_null_in_camel_case_is_not_given() -> None:
    assert action({"userId": None, "user_id": "u"}).user_id == "u"
    only = profile("companies", {"companyId": None, "company_id": "c", "companyDomain": None})
    assert leaves(only)["company_id"] == "c"
    assert not [path for path, _ in only.leaves if path.startswith("companyDomain")]


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("actions", {"actionName": 5, "request": {}}, "$.actionName"),
        ("actions", ACTION | {"userId": 5}, "$.userId"),
        ("actions", {"actionName": "A", "request": {"ipAddress": 5}}, "$.request.ipAddress"),
        ("events", CALL | {"blockedBy": 5}, "$.blockedBy"),
        ("users", {"userId": 5}, "$.userId"),
        ("users", {"userId": "u", "modifiedTime": "x"}, "$.modifiedTime"),
        ("subscriptions", {"subscriptionId": "s", "companyId": "c", "items": [{"planId": 5}]}, "$.items[0].planId"),
        ("subscriptions", {"subscriptionId": "s", "companyId": "c", "currentPeriodEnd": "x"}, "$.currentPeriodEnd"),
    ],
)
def test_20_a_fault_is_told_under_the_name_that_was_sent(path: str, body: Any, where: str) -> None:
    assert fault(f"/v1/{path}", body) == (400, "invalid_field", where)


def test_20_the_java_clients_action_is_read() -> None:
    sent = {
        "actionName": "Clicked",
        "userId": "u",
        "companyId": "c",
        "transactionId": "t",
        "sessionToken": "s",
        "request": {"uri": "https://a.b", "userAgentString": "UA/1", "ipAddress": "1.2.3.4", "time": NOON},
    }
    (only,) = events("/v1/actions", sent)
    assert (only.name, only.user_id, only.event_id, only.user_agent) == ("Clicked", "u", "t", "UA/1")
    assert (only.company_id, only.ip, only.session_token) == ("c", "1.2.3.4", HASHED("s"))


def test_every_form_has_both_names_of_every_member_of_two_words() -> None:
    for form in (Action, ApiCall, User, Company, Subscription):
        fields = form.__struct_fields__
        of_two_words = {name for name in fields if "_" in name}
        assert {name for name, _ in pairs_of(form)} == of_two_words
        assert {other for _, other in pairs_of(form)} == {name for name in fields if re.search("[A-Z]", name)}


def test_a_name_of_one_word_has_one_spelling() -> None:
    assert names("gclid", "utm_source").renamed == {"utmSource": "utm_source"}
    assert canonical({"Gclid": 1, "utmSource": 2, "x": None}, names("gclid", "utm_source")) == {
        "Gclid": 1,
        "utm_source": 2,
        "x": None,
    }


def test_metadata_keeps_its_own_spelling() -> None:
    assert action({"metadata": {"userId": 1}}).properties == Raw(b'{"userId": 1}')
    assert leaves(profile("users", {"userId": "u", "metadata": {"firstName": "A"}}))["metadata.firstName"] == "A"
