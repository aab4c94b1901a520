"""What a store promises about who did it: other names of a user, merged profiles, and what is told by lookups."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catchment.store.store import Store
from tests.store.contract import event, lines, update

_names = st.sampled_from(["a", "b", "c.d", "%"])
_values: Any = st.recursive(
    st.none() | st.integers(0, 3) | st.text("xy", max_size=2) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(_names, inner, max_size=3),
    max_leaves=6,
)
_documents = st.dictionaries(_names, _values, max_size=3)
_whose = st.sampled_from(
    [
        ("user", {"user_id": "u1"}),
        ("user", {"user_id": "u2"}),
        ("user", {"user_id": "u1", "anonymous_id": "n1"}),
        ("user", {"user_id": "u2", "anonymous_id": "n1"}),
        ("user", {"user_id": "u2", "anonymous_id": "n2"}),
        ("user", {"anonymous_id": "n1"}),
        ("user", {"anonymous_id": "n2"}),
        ("company", {"company_id": "c1"}),
        ("subscription", {"subscription_id": "s1"}),
    ]
)


def alias(user_id: str, order: int, **names: str) -> dict[str, Any]:
    return update(user_id, {}, order, **names)


class IdentityContract:
    """Inherited beside `StoreContract`."""

    @pytest.fixture
    def store(self) -> Store:
        pytest.fail("an implementation gives its own")

    def users_of(self, store: Store, where: str = "1") -> dict[str, tuple[str, str]]:
        rows = store.query(f"SELECT event_id, user_id, identified_by FROM events WHERE {where}", {}).rows
        return {row["event_id"]: (row["user_id"], row["identified_by"]) for row in rows}

    @pytest.mark.parametrize("alias_first", [True, False])
    @pytest.mark.parametrize("kind", ["anonymous_id", "session_token"])
    def test_an_event_is_found_under_its_user_whichever_came_first(
        self, store: Store, kind: str, alias_first: bool
    ) -> None:
        inserts = [lines(event("1", **{kind: "x"})), lines(alias("u", 1, **{kind: "x"}))]
        for insert in reversed(inserts) if alias_first else inserts:
            store.insert(insert)
        assert self.users_of(store, "user_id = 'u'") == {"1": ("u", kind)}

    def test_the_sender_knows_better_than_any_alias(self, store: Store) -> None:
        store.insert(lines(alias("u", 1, session_token="t"), event("1", user_id="other", session_token="t")))
        assert self.users_of(store) == {"1": ("other", "user_id")}

    def test_an_alias_of_another_application_or_kind_says_nothing(self, store: Store) -> None:
        store.insert(lines(alias("u", 1, session_token="x", app="b"), alias("v", 2, anonymous_id="x")))
        store.insert(lines(event("1", session_token="x"), event("2", anonymous_id="x", app="b")))
        assert self.users_of(store) == {"1": ("", ""), "2": ("", "")}

    def test_the_first_who_was_given_a_name_keeps_it(self, store: Store) -> None:
        store.insert(lines(event("1", anonymous_id="n"), alias("late", 9, anonymous_id="n")))
        store.insert(lines(alias("early", 2, anonymous_id="n")))
        store.insert(lines(alias("early", 20, anonymous_id="n")))
        assert self.users_of(store) == {"1": ("early", "anonymous_id")}

    def test_an_anonymous_id_tells_more_than_a_session(self, store: Store) -> None:
        store.insert(lines(alias("u", 1, session_token="t"), alias("v", 2, anonymous_id="n")))
        store.insert(
            lines(event("1", anonymous_id="n", session_token="t"), event("2", anonymous_id="?", session_token="t"))
        )
        assert self.users_of(store) == {"1": ("v", "anonymous_id"), "2": ("u", "session_token")}

    def test_a_session_tells_the_company_too(self, store: Store) -> None:
        company = update("", {}, 1, kind="company", company_id="c", session_token="t")
        store.insert(
            lines(company, event("1", user_id="u", session_token="t"), event("2", company_id="d", session_token="t"))
        )
        rows = store.query("SELECT event_id, user_id, company_id FROM events ORDER BY event_id", {}).rows
        assert [(row["user_id"], row["company_id"]) for row in rows] == [("u", "c"), ("", "d")]

    def test_identity_is_the_vendors_own_else_the_user_that_is_known_by_now(self, store: Store) -> None:
        own = {"identity": "device-1", "anonymous_id": "n"}
        events = [event("1", **own), event("2", anonymous_id="n"), event("3", user_id="w"), event("4"), event("5")]
        events[4]["anonymous_id"] = "nobody's"
        store.insert(lines(*events))
        query = "SELECT event_id, identity FROM events ORDER BY event_id"
        before = {row["event_id"]: row["identity"] for row in store.query(query, {}).rows}
        assert before == {"1": "device-1", "2": "n", "3": "w", "4": "", "5": "nobody's"}
        store.insert(lines(alias("u", 1, anonymous_id="n")))
        assert {row["event_id"]: row["identity"] for row in store.query(query, {}).rows} == before | {"2": "u"}

    def test_a_user_was_seen_when_its_visitor_and_its_sessions_were(self, store: Store) -> None:
        store.insert(lines(event("1", anonymous_id="n", time="2025-01-01T00:00:00")))
        store.insert(lines(event("2", session_token="t", time="2026-01-01T00:00:00")))
        store.insert(lines(alias("u", 1, anonymous_id="n", session_token="t")))
        [row] = store.query("SELECT * FROM users", {}).rows
        assert row["first_seen"] == "2025-01-01 00:00:00.000000"
        assert row["last_seen"] == "2026-01-01 00:00:00.000000"
        assert (row["anonymous_ids"], row["session_tokens"]) == (["n"], ["t"])

    def test_a_visitor_moves_to_the_users_once_identified(self, store: Store) -> None:
        campaign = {"campaign": {"utm_source": "google", "gclid": "G"}}
        store.insert(lines(update("", campaign, 1, anonymous_id="n")))
        [visitor] = store.query("SELECT * FROM visitors", {}).rows
        assert (visitor["anonymous_id"], visitor["campaign"]["gclid"]) == ("n", "G")
        assert store.query("SELECT * FROM users", {}).rows == []
        known = {"campaign": {"utm_source": "mail"}, "metadata": {"email": "a@b.c"}}
        store.insert(lines(update("u", known, 2, anonymous_id="n")))
        [user] = store.query("SELECT * FROM users", {}).rows
        assert (user["email"], user["campaign"]["utm_source"], user["campaign"]["gclid"]) == ("a@b.c", "mail", "G")
        assert store.query("SELECT * FROM visitors", {}).rows == []

    def test_reserved_members_are_columns_and_stay_in_the_profile(self, store: Store) -> None:
        metadata = {
            "email": "a@b.c",
            "name": "A B",
            "first_name": "A",
            "last_name": "B",
            "phone": "1",
            "photo_url": "https://p",
            "plan": 7,
        }
        document = {"company_id": "c", "metadata": metadata, "modified_time": "2026-01-02T03:04:05.5Z"}
        store.insert(lines(update("u", document, 1)))
        [row] = store.query("SELECT * FROM users", {}).rows
        assert row["profile"]["metadata"] == metadata
        assert {name: row[name] for name in metadata if name != "plan"} == {
            name: value for name, value in metadata.items() if name != "plan"
        }
        assert (row["company_id"], row["modified_time"]) == ("c", "2026-01-02 03:04:05.500000")

    def test_reserved_members_of_other_types_are_shown_as_text(self, store: Store) -> None:
        store.insert(
            lines(update("u", {"metadata": {"name": 5, "email": ["x"]}, "campaign": 1, "modified_time": "?"}, 1))
        )
        [row] = store.query("SELECT * FROM users", {}).rows
        assert (row["name"], row["campaign"]["gclid"], row["modified_time"]) == ("5", "", None)

    def test_what_a_sender_says_in_the_place_of_the_servers_words_breaks_no_view(self, store: Store) -> None:
        odd: list[Any] = [[1], {"a": 1}, True, "x", 1e300, [[{"b": None}]]]
        names = ("geo_ip", "user_agent", "campaign", "metadata", "modified_time", "ip_address", "company_id")
        updates = [
            update(f"u{number}", {name: part}, number)
            for number, (name, part) in enumerate(
                (name, part)
                for name in names
                for value in odd
                for part in (value, {"latitude": value, "name": value, "gclid": value, "email": value})
            )
        ]
        store.insert(lines(*updates))
        assert len(store.query("SELECT * FROM users", {}).rows) == len(updates)

    def test_a_profile_of_many_members_costs_no_more_than_its_members(self, store: Store) -> None:
        for order in range(6):
            members = {f"{'k' * 60}{order}-{number}": {"a": number} for number in range(900)}
            store.insert(lines(update("u", {"metadata": members}, order)))
        store.insert(lines(update("v", {"metadata": {"email": "a@b.c"}}, 10)))
        assert store.query("SELECT user_id FROM users WHERE email = 'a@b.c'", {}).rows == [{"user_id": "v"}]

    def test_a_name_of_another_source_is_not_claimed(self, store: Store) -> None:
        store.insert(
            lines(event("1", source="moloco", kind="event", anonymous_id="n"), alias("u", 1, anonymous_id="n"))
        )
        assert self.users_of(store) == {"1": ("", "")}
        [user] = store.query("SELECT first_seen, last_seen FROM users", {}).rows
        assert user["first_seen"] == user["last_seen"]

    def test_companies_and_subscriptions_are_profiles_of_their_own(self, store: Store) -> None:
        company = {"company_domain": "acme.com", "metadata": {"email": "x"}}
        subscription = {
            "company_id": "c",
            "status": "active",
            "current_period_start": "2026-01-02T03:04:05.678Z",
            "items": [{"plan_id": "p"}],
        }
        store.insert(
            lines(
                update("", company, 1, kind="company", company_id="c"),
                update("", subscription, 2, kind="subscription", subscription_id="s", company_id="c"),
                event("1", company_id="c", subscription_id="s", time="2026-02-01T00:00:00"),
            )
        )
        [row] = store.query("SELECT * FROM companies", {}).rows
        assert (row["company_id"], row["company_domain"], row["profile"]) == ("c", "acme.com", company)
        assert row["last_seen"] == "2026-02-01 00:00:00.000000"
        [row] = store.query("SELECT * FROM subscriptions", {}).rows
        assert (row["subscription_id"], row["company_id"], row["status"]) == ("s", "c", "active")
        assert row["current_period_start"] == "2026-01-02 03:04:05.678000"
        assert row["current_period_end"] is None
        assert row["profile"]["items"] == [{"plan_id": "p"}]
        assert row["last_seen"] == "2026-02-01 00:00:00.000000"
        assert store.query("SELECT * FROM users", {}).rows == []

    def test_agents_and_places_are_columns(self, store: Store) -> None:
        agent, place = {"name": "Chrome", "version": "126"}, {"country": "DE", "latitude": 52.5}
        update_of_user = update("u", {}, 1)
        update_of_user["leaves"] = [("user_agent", json.dumps(agent)), ("geo_ip", json.dumps(place))]
        store.insert(lines(event("1", agent=agent, place=place), event("2"), update_of_user))
        rows = store.query("SELECT agent.name AS name, place.country AS country FROM events ORDER BY event_id", {}).rows
        assert rows == [{"name": "Chrome", "country": "DE"}, {"name": "", "country": ""}]
        [row] = store.query("SELECT agent, place FROM users", {}).rows
        assert row["agent"] == {"name": "Chrome", "version": "126", "os": "", "os_version": "", "device": ""}
        assert row["place"] == {"country": "DE", "region": "", "city": "", "latitude": 52.5, "longitude": None}

    @pytest.mark.parametrize(
        ("path", "route"),
        [
            ("/", "/"),
            ("/items", "/items"),
            ("/items/12/reviews", "/items/:id/reviews"),
            ("/items/12/34/", "/items/:id/:id/"),
            ("/v1/oauth2/token", "/v1/oauth2/token"),
            ("/u/59e5d9a6-c921-49db-a3eb-568a1f1e94cb", "/u/:id"),
            ("/o/507f1f77bcf86cd799439011/x", "/o/:id/x"),
            ("/c/cus_9s6XKzkNRiz8i3", "/c/:id"),
            ("/c/order-17/user_3", "/c/:id/:id"),
            ("/mail/a@b.c", "/mail/:id"),
            ("/mail/a%40b.c", "/mail/:id"),
            ("/days/2026-01-02", "/days/:id"),
            ("/api/1.0/internationalization", "/api/1.0/internationalization"),
            ("/blog/top-10-things", "/blog/top-10-things"),
        ],
    )
    def test_ids_in_a_path_are_folded(self, store: Store, path: str, route: str) -> None:
        store.insert(lines(event("1", kind="api_call", verb="GET", name=f"GET {path}")))
        assert store.query("SELECT route FROM events", {}).rows == [{"route": route}]

    def test_an_action_has_no_route(self, store: Store) -> None:
        store.insert(lines(event("1", uri="https://acme.com/items/1")))
        assert store.query("SELECT route, status_class FROM events", {}).rows == [{"route": "", "status_class": ""}]

    @pytest.mark.parametrize(("status", "status_class"), [(200, "2xx"), (404, "4xx"), (599, "5xx"), (0, "0xx")])
    def test_a_status_has_a_class(self, store: Store, status: int, status_class: str) -> None:
        store.insert(lines(event("1", kind="api_call", status=status)))
        assert store.query("SELECT status_class FROM events", {}).rows == [{"status_class": status_class}]

    @pytest.mark.parametrize(
        ("encoding", "sent", "read"),
        [
            ("", {"a": 1}, '{"a": 1}'),
            ("json", {"a": 1}, '{"a": 1}'),
            ("base64", "eyJhIjoxfQ==", '{"a":1}'),
            ("base64", "eyJh\nIjox\r\nfQ==\n", '{"a":1}'),
            ("base64", "not base64!", "not base64!"),
            ("base64", "", ""),
        ],
    )
    def test_a_body_is_read_however_it_was_encoded(self, store: Store, encoding: str, sent: Any, read: str) -> None:
        fields = {
            f"{side}_{what}": value
            for side in ("request", "response")
            for what, value in (("body", sent), ("encoding", encoding))
        }
        store.insert(lines(event("1", kind="api_call", **fields)))
        [row] = store.query("SELECT request_body, response_body FROM events", {}).rows
        assert (row["request_body"], row["response_body"]) == (read, read)

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(data=st.data())
    def test_any_updates_in_any_batching_are_the_recursive_merge_in_their_order(
        self, store: Store, data: st.DataObject
    ) -> None:
        app = f"app{next(_fresh)}"  # an application of its own for every example, for the tables stay
        steps = data.draw(st.lists(st.tuples(_whose, _documents), min_size=1, max_size=8))
        records = [
            update("", document, order, kind=kind, app=app) | ids for order, ((kind, ids), document) in enumerate(steps)
        ]
        for part in _batches(data, records):
            store.insert(lines(*part))
        rows = store.query(
            "SELECT entity, entity_id, profile FROM profiles WHERE app = {app:String}", {"app": app}
        ).rows
        found = {(row["entity"], row["entity_id"]): row["profile"] for row in rows}
        assert {whose: _bare(profile) for whose, profile in found.items()} == _expected(steps)


_fresh = itertools.count()
_Step = tuple[tuple[str, dict[str, str]], dict[str, Any]]


def _batches(data: st.DataObject, records: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    shuffled = data.draw(st.permutations(records))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(shuffled) - 1)), max_size=3)))
    return [
        list(shuffled[start:end]) for start, end in itertools.pairwise([0, *cuts, len(shuffled)]) if shuffled[start:end]
    ]


def _expected(steps: Sequence[_Step]) -> dict[tuple[str, str], Any]:
    """The same by a plain recursive merge, in order of arrival, under whoever was first given the anonymous id."""
    owners: dict[str, str] = {}
    for (_, ids), _document in steps:
        if "user_id" in ids and "anonymous_id" in ids:
            owners.setdefault(ids["anonymous_id"], ids["user_id"])
    profiles: dict[tuple[str, str], Any] = {}
    for (kind, ids), document in steps:
        profile = profiles.setdefault(_entity(kind, ids, owners), {})
        _merge(profile, document)
    return {whose: _shown(_bare(profile)) for whose, profile in profiles.items()}


def _entity(kind: str, ids: Mapping[str, str], owners: Mapping[str, str]) -> tuple[str, str]:
    if kind != "user":
        return kind, ids[f"{kind}_id"]
    if "user_id" in ids:
        return "user", ids["user_id"]
    owner = owners.get(ids["anonymous_id"])
    return ("user", owner) if owner else ("anonymous", ids["anonymous_id"])


def _merge(profile: dict[str, Any], document: Mapping[str, Any]) -> None:
    for key, value in document.items():
        if value is None:
            continue
        if isinstance(value, dict):
            if not isinstance(profile.get(key), dict):
                profile[key] = {}
            _merge(profile[key], value)
        else:
            profile[key] = value


def _bare(value: Any) -> Any:
    """Without empty objects, which a profile does not show."""
    if not isinstance(value, dict):
        return value
    members = {key: _bare(member) for key, member in value.items()}
    return {key: member for key, member in members.items() if member != {}}


def _shown(value: Any) -> Any:
    """With the keys written as a profile writes them (docs/sql.md)."""
    if not isinstance(value, dict):
        return value
    return {key.replace("%", "%25").replace(".", "%2E"): _shown(member) for key, member in value.items()}
