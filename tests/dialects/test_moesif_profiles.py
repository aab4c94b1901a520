"""Users, companies and subscriptions as the leaves of a profile.

Numbers are those of the checklist in contracts/moesif.md, section 6.
"""

from typing import Any

import pytest

from catchment.record import ProfileRecord
from tests.dialects.moesif_calls import (
    COMPANY,
    HASHED,
    NOW_US,
    PEER,
    SUBSCRIPTION,
    USER,
    call,
    fault,
    leaves,
    payload_text,
    profile,
)

NOW_TEXT = "2026-01-02T12:00:00.000Z"
BROWSER = {"user-agent": "Mozilla/5.0", "x-moesif-sdk": "moesif-browser-js/1.8.13"}


class TestUsers:
    def test_a_full_one_becomes_its_leaves(self) -> None:
        sent = {
            "user_id": "u1",
            "anonymous_id": "a1",
            "company_id": "c1",
            "session_token": "sess-1",
            "modified_time": "2026-01-02T03:04:05.678901",
            "ip_address": "1.2.3.4",
            "user_agent_string": "UA/1",
            "metadata": {"email": "a@b.c", "plan": {"name": "x.y"}, "null": None},
            "campaign": {"utm_source": "google", "gclid": None},
        }
        only = profile("users", sent, headers={"user-agent": "moesifapi-python/1"})
        assert leaves(only) == {
            "user_id": "u1",
            "anonymous_id": "a1",
            "company_id": "c1",
            "modified_time": "2026-01-02T03:04:05.678901Z",
            "ip_address": "1.2.3.4",
            "user_agent_string": "UA/1",
            "metadata.email": "a@b.c",
            "metadata.plan.name": "x.y",
            "campaign.utm_source": "google",
        }
        assert only == ProfileRecord(
            app="shop",
            source="moesif",
            kind="user",
            event_id="id-1",
            received_us=NOW_US,
            payload=only.payload,
            ip="1.2.3.4",
            user_agent="UA/1",
            user_id="u1",
            anonymous_id="a1",
            company_id="c1",
            session_token=HASHED("sess-1"),
            leaves=only.leaves,
        )

    def test_10_21_time_and_address_are_the_calls_unless_told(self) -> None:
        only = profile("users", {"user_id": "u", "modified_time": None, "ip_address": ""})
        assert leaves(only) == {"user_id": "u", "modified_time": NOW_TEXT, "ip_address": PEER}
        assert only.ip == PEER

    @pytest.mark.parametrize("campaign", [{}, None])
    def test_13_an_anonymous_one_is_accepted(self, campaign: Any) -> None:
        only = profile("users", {"anonymous_id": "a1", "campaign": campaign})
        assert (only.user_id, only.anonymous_id) == (None, "a1")
        assert leaves(only)["anonymous_id"] == "a1"

    def test_21_the_user_agent_of_a_browser_is_the_users(self) -> None:
        for headers in (BROWSER, {"user-agent": "Mozilla/5.0", "origin": "https://shop.example"}):
            assert leaves(profile("users", USER, headers=headers))["user_agent_string"] == "Mozilla/5.0"
        given = leaves(profile("users", USER | {"user_agent_string": "UA/1"}, headers=BROWSER))
        assert given["user_agent_string"] == "UA/1"

    def test_21_that_of_a_server_is_not(self) -> None:
        only = profile("users", USER, headers={"user-agent": "moesifapi-python/1"})
        assert "user_agent_string" not in leaves(only)
        assert only.user_agent == "moesifapi-python/1"
        assert "user_agent_string" not in leaves(profile("users", USER, headers={"origin": "https://shop.example"}))

    def test_8_a_null_is_no_leaf(self) -> None:
        names = ("company_id", "anonymous_id", "session_token", "user_agent_string", "metadata", "campaign")
        assert leaves(profile("users", USER | dict.fromkeys(names))) == leaves(profile("users", USER))

    def test_16_a_session_token_is_no_leaf(self) -> None:
        for token in ("s", None, ""):
            assert not [path for path, _ in profile("users", USER | {"session_token": token}).leaves if "token" in path]

    def test_19_members_that_are_not_known_are_leaves_as_they_are(self) -> None:
        assert leaves(profile("users", USER | {"someThing": {"userId": 1}}))["someThing.userId"] == 1

    @pytest.mark.parametrize("metadata", [{str(n): n for n in range(2000)}, {"x" * 2000: 1}])
    def test_one_of_too_many_values_is_refused(self, metadata: Any) -> None:
        assert fault("/v1/users", USER | {"metadata": metadata}) == (400, "invalid_field", "$")
        assert fault("/v1/companies/batch", [COMPANY, COMPANY | {"metadata": metadata}])[2] == "$[1]"

    def test_the_payload_is_as_sent(self) -> None:
        text = b'{"user_id" : "u", "modified_time": 1767323045678, "x": 1e2}'
        assert payload_text(profile("users", text)) == text


class TestCompanies:
    def test_a_full_one_becomes_its_leaves(self) -> None:
        sent = {
            "company_id": "c1",
            "company_domain": "acme.com",
            "session_token": "Bearer s",
            "modified_time": 1_767_323_045_678,
            "ip_address": None,
            "metadata": {"plan": "Free"},
            "campaign": {"referrer": "r"},
        }
        only = profile("companies", sent, headers=BROWSER)
        assert leaves(only) == {
            "company_id": "c1",
            "company_domain": "acme.com",
            "modified_time": "2026-01-02T03:04:05.678Z",
            "ip_address": PEER,
            "metadata.plan": "Free",
            "campaign.referrer": "r",
        }
        assert only == ProfileRecord(
            app="shop",
            source="moesif",
            kind="company",
            event_id="id-1",
            received_us=NOW_US,
            payload=only.payload,
            ip=PEER,
            user_agent="Mozilla/5.0",
            company_id="c1",
            session_token=HASHED("s"),
            leaves=only.leaves,
        )

    def test_arrival_numbers_keep_the_order_of_a_batch(self) -> None:
        records = call("/v1/companies/batch", [COMPANY] * 3).records
        assert [record.received_us - NOW_US for record in records] == [0, 1, 2]
        assert len({record.event_id for record in records}) == 3


class TestSubscriptions:
    def test_30_a_full_one_becomes_its_leaves(self) -> None:
        items = [
            {"plan_id": "p1", "price_id": "x", "metadata": {"a": 1}},
            {"plan_id": "p2", "created_at": "2026-01-02"},
        ]
        sent = {
            "subscription_id": "s1",
            "company_id": "c1",
            "current_period_start": "2026-01-02T03:04:05.678901",
            "current_period_end": "2026-02-01T03:04:05+0100",
            "status": "active",
            "items": items,
            "metadata": {"seats": 5},
        }
        only = profile("subscriptions", sent)
        assert leaves(only) == {
            "subscription_id": "s1",
            "company_id": "c1",
            "current_period_start": "2026-01-02T03:04:05.678901Z",
            "current_period_end": "2026-02-01T02:04:05.000Z",
            "status": "active",
            "items": items,
            "metadata.seats": 5,
            "modified_time": NOW_TEXT,
        }
        assert only == ProfileRecord(
            app="shop",
            source="moesif",
            kind="subscription",
            event_id="id-1",
            received_us=NOW_US,
            payload=only.payload,
            ip=PEER,
            company_id="c1",
            subscription_id="s1",
            leaves=only.leaves,
        )

    @pytest.mark.parametrize(
        "status", ["active", "cancelled", "paused", "trialing", "pending", "draft", "future", "Anything", None]
    )
    def test_30_any_status_is_taken_and_none(self, status: str | None) -> None:
        assert leaves(profile("subscriptions", SUBSCRIPTION | {"status": status})).get("status") == status

    @pytest.mark.parametrize("items", [None, []])
    def test_30_items_may_be_missing(self, items: Any) -> None:
        assert leaves(profile("subscriptions", SUBSCRIPTION | {"items": items})).get("items") == items

    def test_one_has_no_address(self) -> None:
        assert "ip_address" not in leaves(profile("subscriptions", SUBSCRIPTION, headers=BROWSER))

    def test_the_first_item_without_a_plan_is_named(self) -> None:
        items = [{"plan_id": "p"}, {"planId": "q"}, {"plan_id": ""}]
        assert fault("/v1/subscriptions/batch", [SUBSCRIPTION | {"items": items}]) == (
            400,
            "missing_field",
            "$[0].items[2].plan_id",
        )

    def test_a_time_given_by_the_client_is_not_replaced(self) -> None:
        sent = SUBSCRIPTION | {"modified_time": "2026-01-01T00:00:00Z"}
        assert leaves(profile("subscriptions", sent))["modified_time"] == "2026-01-01T00:00:00Z"
