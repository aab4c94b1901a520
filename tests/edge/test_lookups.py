"""What a User-Agent says and where an address is: looked up once, written into each record."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from catchment import config
from catchment.edge.agents import agent_parser
from catchment.edge.lookups import AGENTS, Bounds, Lookups
from catchment.edge.places import place_finder
from catchment.log.segment import scan
from catchment.record import Agent, EventRecord, Place, ProfileRecord, encode_lines, profile_leaves
from catchment.settings import Geo
from tests.conftest import AppOf, Server, catchment, write_apps

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{} Safari/537.36"
BERLIN = {
    "country": {"iso_code": "DE"},
    "subdivisions": [{"iso_code": "BE", "names": {"en": "Land Berlin"}}],
    "city": {"names": {"en": "Berlin", "fr": "Berlin"}},
    "location": {"latitude": 52.5, "longitude": 13.25, "time_zone": "Europe/Berlin"},
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small City database."""
    made = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City", float_type="f64")
    made.insert_network(IPSet(["192.0.2.0/24", "2001:db8::/32"]), BERLIN)
    made.insert_network(IPSet(["127.0.0.0/8"]), {"country": {"iso_code": "XX"}, "subdivisions": [{"iso_code": "LO"}]})
    made.insert_network(IPSet(["198.51.100.1/32"]), {"traits": {"is_anycast": True}})
    made.insert_network(
        IPSet(["198.51.100.2/32"]),
        {"country": "DE", "subdivisions": {"a": 1}, "city": [], "location": {"latitude": "x", "longitude": 1e9}},
    )
    path = tmp_path_factory.mktemp("geo") / "city.mmdb"
    made.to_db_file(str(path))
    return path


@pytest.fixture(scope="module")
def parse() -> Callable[[str], Agent | None]:
    """A parser, which takes a moment to build."""
    return agent_parser()


class TestAgents:
    @pytest.mark.parametrize(
        ("text", "agent"),
        [
            (
                CHROME.format("126.0.6478.61"),
                Agent(name="Chrome", version="126.0.6478", os="Windows", os_version="10"),
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
                "Version/17.5 Mobile/15E148 Safari/604.1",
                Agent(name="Mobile Safari", version="17.5", os="iOS", os_version="17.5", device="iPhone"),
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 "
                "Mobile Safari/537.36",
                Agent(
                    name="Chrome Mobile", version="126.0.0", os="Android", os_version="14", device="Samsung SM-S918B"
                ),
            ),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                Agent(name="Googlebot", version="2.1", device="Spider"),
            ),
            ("python-requests/2.34.2", Agent(name="Python Requests", version="2.34")),
            ("moesifapi-python/1.5.5", None),
            ("", None),
            ("\x00\n", None),
            ("\N{SNOWMAN}" * 1024, None),
        ],
    )  # fmt: skip
    def test_a_string_says_what_it_says(
        self, parse: Callable[[str], Agent | None], text: str, agent: Agent | None
    ) -> None:
        assert parse(text) == agent


class TestPlaces:
    @pytest.mark.parametrize("ip", ["192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7"])
    def test_an_address_of_the_database_has_its_place(self, database: Path, ip: str) -> None:
        find = place_finder(Geo(database=str(database)))
        assert find
        assert find(ip) == Place(country="DE", region="Land Berlin", city="Berlin", latitude=52.5, longitude=13.25)

    def test_a_region_without_a_name_has_its_code(self, database: Path) -> None:
        find = place_finder(Geo(database=str(database)))
        assert find
        assert find("127.0.0.1") == Place(country="XX", region="LO")

    @pytest.mark.parametrize(
        "ip",
        [*"198.51.100.1 198.51.100.2 203.0.113.1 fe80::1%eth0 x 1 192.0.2 192.0.2.7\x00 \ud800".split(" "), ""],
    )
    def test_what_is_no_address_or_unknown_has_none(self, database: Path, ip: str) -> None:
        find = place_finder(Geo(database=str(database)))
        assert find
        assert find(ip) is None

    def test_a_database_that_went_costs_the_places_only(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        assert place_finder(Geo()) is None
        assert place_finder(Geo(database=str(tmp_path / "none.mmdb"))) is None
        (tmp_path / "bad.mmdb").write_bytes(b"x" * 100)
        assert place_finder(Geo(database=str(tmp_path / "bad.mmdb"))) is None
        assert caplog.text.count("geo.database cannot be opened") == 2

    def test_a_database_that_cannot_be_used_is_a_mistake(self, tmp_path: Path, database: Path) -> None:
        write_apps(tmp_path, ["default"])
        bad = tmp_path / "bad.mmdb"
        bad.write_bytes(b"x")
        for file, sentence in (
            (tmp_path / "none.mmdb", "it cannot be read: No such file or directory"),
            (bad, "it must be a database in MaxMind's format, .mmdb"),
        ):
            said = catchment(
                "config", "check", data_dir=tmp_path, code=2, environment={"CATCHMENT_GEO__DATABASE": str(file)}
            )
            assert "geo.database: found " in said
            assert sentence in said
        environment = {"CATCHMENT_GEO__DATABASE": str(database)}
        assert "is sound" in catchment("config", "check", data_dir=tmp_path, environment=environment)


class TestLookups:
    """With a parser and a finder that note what they were asked."""

    def setup_method(self) -> None:
        self.asked: list[str] = []
        self.now = 0.0
        self.lookups = self.made()

    def made(self, agents: Bounds = AGENTS) -> Lookups:
        return Lookups(self._agent, self._place, agents=agents, clock=lambda: self.now)

    def _agent(self, text: str) -> Agent | None:
        self.asked.append(text)
        return None if text.startswith("mute") else Agent(name=text)

    def _place(self, text: str) -> Place | None:
        self.asked.append(text)
        return Place(country="DE") if text == "1.2.3.4" else None

    def fill(self, *agents: str | None, ip: str | None = None) -> list[dict[str, Any]]:
        """What one request with these User-Agents writes into its records."""
        records = [event(user_agent=agent, ip=ip) for agent in agents]
        self.lookups.fill(records)
        lines = [json.loads(line) for line in encode_lines(records).splitlines()]
        return [{name: line[name] for name in ("agent", "place") if name in line} for line in lines]

    def test_a_string_is_looked_up_once_and_written_into_each_record(self) -> None:
        for _ in range(2):
            assert self.fill("a", "b", "a", ip="1.2.3.4") == [
                {"agent": {"name": name}, "place": {"country": "DE"}} for name in "aba"
            ]
        assert self.asked == ["a", "1.2.3.4", "b"]

    def test_what_means_nothing_is_not_written_and_not_asked_again(self) -> None:
        for _ in range(3):
            assert self.fill("mute", None, "", ip="unknown") == [{}, {}, {}]
        assert self.asked == ["mute", "unknown"]

    def test_without_a_database_addresses_are_not_looked_at(self) -> None:
        self.lookups = Lookups(self._agent, None)
        assert self.fill("a", ip="1.2.3.4") == [{"agent": {"name": "a"}}]

    def test_a_string_that_is_too_long_is_left_alone(self) -> None:
        assert self.fill("u" * 1025, ip="1" * 65) == [{}]
        assert self.asked == []
        assert self.fill("u" * 1024) == [{"agent": {"name": "u" * 1024}}]

    def test_a_request_brings_a_bounded_number_and_the_next_ones_the_rest(self) -> None:
        self.lookups = self.made(AGENTS._replace(per_request_max=500))
        names = [f"agent {number}" for number in range(1250)]
        filled = [sum(bool(record) for record in self.fill(*names)) for _ in range(4)]
        assert filled == [500, 1000, 1250, 1250]
        assert self.asked == names

    def test_a_minute_brings_a_bounded_number_and_the_next_one_the_rest(self, caplog: pytest.LogCaptureFixture) -> None:
        self.lookups = self.made(AGENTS._replace(per_minute_max=3))
        for _ in range(2):
            assert [bool(record) for record in self.fill(*"abcde")] == [True, True, True, False, False]
        assert self.fill("f", ip="1.2.3.4") == [{"place": {"country": "DE"}}]
        self.now += 60
        assert all(self.fill(*"abcdef"))
        assert "5 User-Agents were not looked up: too many a minute" in caplog.text

    @pytest.mark.parametrize("bounds", [{"known_max": 20}, {"known_chars_max": 120}], ids=str)
    def test_the_memory_is_bounded_and_keeps_what_is_met_again_and_again(self, bounds: dict[str, int]) -> None:
        self.lookups = self.made(AGENTS._replace(**bounds))
        for number in range(200):
            self.fill("often", f"once {number}")
        assert self.asked.count("often") == 1
        self.fill("once 0")
        assert self.asked.count("once 0") == 2

    @pytest.mark.parametrize(
        ("document", "added"),
        [
            ({}, {}),
            ({"user_agent_string": "a"}, {"user_agent": {"name": "a"}}),
            ({"user_agent_string": "mute", "ip_address": "unknown"}, {"user_agent": {}, "geo_ip": {}}),
            ({"ip_address": "1.2.3.4"}, {"geo_ip": {"country": "DE"}}),
            ({"user_agent_string": 5, "ip_address": {"a": 1}}, {}),
            ({"user_agent_string": "", "ip_address": ["1.2.3.4"]}, {}),
            ({"user_agent_string": "a", "user_agent": "mine", "ip_address": "1.2.3.4", "geo_ip": {"city": "B"}}, {}),
        ],
    )
    def test_a_profile_update_gets_the_meaning_of_its_own_leaves(
        self, document: dict[str, Any], added: dict[str, Any]
    ) -> None:
        sent = profile_leaves(document)
        update = ProfileRecord(
            app="a", source="moesif", kind="user", event_id="e", received_us=1, payload="",
            ip="1.2.3.4", user_agent="an SDK", user_id="u", leaves=list(sent),
        )  # fmt: skip
        self.lookups.fill([update])
        assert update.leaves[: len(sent)] == sent
        assert {path: json.loads(value) for path, value in update.leaves[len(sent) :]} == added
        assert (update.agent, update.place) == (None, None)


def event(*, user_agent: str | None = None, ip: str | None = None) -> EventRecord:
    """An event with these strings."""
    return EventRecord(
        app="a",
        source="moesif",
        kind="action",
        event_id="e",
        received_us=1,
        payload="",
        name="A",
        time=datetime(2026, 1, 2, tzinfo=UTC),
        user_agent=user_agent,
        ip=ip,
    )


def test_a_running_server_tells_what_the_strings_of_its_records_mean(tmp_path: Path, database: Path) -> None:
    write_apps(tmp_path, ["default"])
    document: Any = tomlkit.parse((tmp_path / config.FILE_NAME).read_text())
    document["geo"] = {"database": str(database)}
    (tmp_path / config.FILE_NAME).write_text(tomlkit.dumps(document))
    server = Server(tmp_path, "--workers", "1")
    try:
        app = AppOf(server, "default")
        browser = CHROME.format("126.0.6478.61")
        for ip in ("192.0.2.7", "2001:db8::7"):
            action = {"action_name": ip, "request": {"ip_address": ip, "user_agent_string": browser}}
            assert app.moesif("/v1/actions", action, **{"User-Agent": "moesifapi-python/1.5.5"}).status_code == 201
        mute = {"action_name": "mute", "request": {}}
        assert app.moesif("/v1/actions", mute, **{"User-Agent": "moesifapi-python/1.5.5"}).status_code == 201
        assert app.moesif("/v1/users", {"user_id": "u", "user_agent_string": browser}).status_code == 201
        assert app.moesif("/v1/actions", "{", **{"User-Agent": "curl/8.3"}).status_code == 400
        rows = app.events(3)
        chrome = {"name": "Chrome", "version": "126.0.6478", "os": "Windows", "os_version": "10", "device": ""}
        assert [row["agent"] for row in rows] == [chrome, chrome, dict.fromkeys(chrome, "")]
        assert [row["place"]["region"] for row in rows] == ["Land Berlin", "Land Berlin", "LO"]
        assert rows[0]["place"]["latitude"] == 52.5
        [user] = server.rows_when(1, "SELECT agent, place FROM users WHERE user_id = 'u'")
        assert (user["agent"], user["place"]["country"]) == (chrome, "XX")
    finally:
        assert server.stop() == 0
    lines = [line for line in written(tmp_path) if line["kind"] != "tally"]
    assert [line["kind"] for line in lines] == ["action", "action", "action", "user", "rejection"]
    assert [set(line) & {"agent", "place"} for line in lines] == [{"agent", "place"}] * 2 + [{"place"}, set(), set()]


def written(data_dir: Path) -> list[Any]:
    """The lines of the log in order, without what stands between them."""
    lines = []
    for path in sorted((data_dir / "log").glob("*/*.ndjson")):
        data = path.read_bytes()
        for start, end in scan(data).groups:
            lines += [json.loads(line) for line in data[start:end].splitlines()]
    return [line for line in lines if "kind" in line]
