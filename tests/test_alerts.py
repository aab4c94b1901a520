"""Which of the alerts fire in which state of a server."""

import time
from pathlib import Path

import httpx
import pytest
import yaml

from catchment.edge.app import READY_PATH
from tests.conftest import AppOf, Server, catchment, until, write_apps
from tests.promql import Scrape, firing

ALERTS = Path(__file__).parent.parent / "deploy" / "prometheus" / "alerts.yml"
PAGES = ("CatchmentDown", "CatchmentEdgeDown", "CatchmentUnavailable", "CatchmentDefects")
WITHIN_S = 60.0
REQUESTS = 'catchment_http_requests_total{source="moesif",endpoint="actions",status="5xx"} '
HEALTH = 'catchment_http_requests_total{source="none",endpoint="health",status="5xx"} '
UNAVAILABLE = 'catchment_unavailable_total{cause="%s"} '
EDGE = 'catchment_http_open_requests{process="edge-0"} 0\n'
CORE = "catchment_loader_failing 0\n"
CALM = (
    EDGE + CORE + REQUESTS + "0\n" + HEALTH + "0\n" + UNAVAILABLE % "disk" + "0\n" + UNAVAILABLE % "maintenance" + "0\n"
)


def fired(before: Scrape, now: Scrape, tried: tuple[str, ...] = PAGES) -> set[str]:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]
    asked = {rule["alert"]: rule["expr"] for rule in rules if rule["alert"] in tried}
    assert set(asked) == set(tried)
    return {name for name, expression in asked.items() if firing(expression, before, now)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(CALM, set(), id="all is well"),
        pytest.param("", {"CatchmentDown"}, id="the console's port does not answer"),
        pytest.param(CALM.replace(EDGE, ""), {"CatchmentEdgeDown"}, id="no edge process runs"),
        pytest.param(CALM.replace(REQUESTS + "0", REQUESTS + "60"), {"CatchmentDefects"}, id="calls are answered 500"),
        pytest.param(
            CALM.replace(REQUESTS + "0", REQUESTS + "60").replace(
                UNAVAILABLE % "disk" + "0", UNAVAILABLE % "disk" + "60"
            ),
            {"CatchmentUnavailable"},
            id="the disk takes nothing",
        ),
        pytest.param(
            CALM.replace(REQUESTS + "0", REQUESTS + "60")
            .replace(HEALTH + "0", HEALTH + "60")
            .replace(UNAVAILABLE % "maintenance" + "0", UNAVAILABLE % "maintenance" + "60"),
            set(),
            id="maintenance, and a load balancer that asks",
        ),
    ],
)  # fmt: skip
def test_an_alert_that_pages_fires_for_what_it_says_and_nothing_else(text: str, expected: set[str]) -> None:
    assert fired(Scrape(CALM, 0.0), Scrape(text, 60.0)) == expected


AHEAD = ("CatchmentRoomEnds", "CatchmentRoomShrinks", "CatchmentSettingsBroken")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("catchment_settings_sound 1\n", set(), id="the log does not grow"),
        pytest.param("catchment_room_seconds 3601\n", set(), id="more than an hour is left"),
        pytest.param("catchment_room_seconds 3599\n", {"CatchmentRoomShrinks"}, id="less than an hour"),
        pytest.param("catchment_room_seconds 599\n", {"CatchmentRoomShrinks", "CatchmentRoomEnds"}, id="10 minutes"),
        pytest.param("catchment_settings_sound 0\n", {"CatchmentSettingsBroken"}, id="the next start will fail"),
    ],
)  # fmt: skip
def test_what_will_fail_later_is_an_alert_before(text: str, expected: set[str]) -> None:
    assert fired(Scrape(text, 0.0), Scrape(text, 60.0), AHEAD) == expected


REFUSALS = ("CatchmentManyRejections", "CatchmentWrongPaths")


def refusals(*, calls: int = 1000, refused: int = 0, stray: int = 0, health: int = 0) -> str:
    """What is told after so many calls of a vendor, of which some were refused, and some calls of nobody."""
    requests = 'catchment_http_requests_total{source="%s",endpoint="%s",status="%s"} %d\n'
    rejections = 'catchment_rejections_total{source="%s",status="%d",code="x"} %d\n'
    return (
        requests % ("moesif", "actions", "2xx", calls - refused)
        + requests % ("moesif", "actions", "4xx", refused)
        + requests % ("none", "unknown", "4xx", stray)
        + requests % ("none", "health", "2xx", health)
        + rejections % ("moesif", 400, refused)
        + rejections % ("none", 404, stray)
    )


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(refusals(refused=100), set(), id="one in ten"),
        pytest.param(refusals(refused=101, health=9000), {"CatchmentManyRejections"}, id="more, beside health checks"),
        pytest.param(refusals(stray=200, health=9000), {"CatchmentWrongPaths"}, id="wrong paths, beside health checks"),
        pytest.param(refusals(stray=40), set(), id="a few strangers"),
        pytest.param(refusals(calls=0, stray=40), set(), id="a few strangers alone"),
        pytest.param(refusals(calls=0, stray=60), {"CatchmentWrongPaths"}, id="wrong paths alone"),
        pytest.param(refusals(calls=0), set(), id="nothing comes"),
    ],
)  # fmt: skip
def test_many_refusals_are_an_alert_also_those_that_are_no_vendors(now: str, expected: set[str]) -> None:
    assert fired(Scrape(refusals(calls=0), 0.0), Scrape(now, 900.0), REFUSALS) == expected


def test_maintenance_of_a_server_with_traffic_pages_nobody(tmp_path: Path) -> None:
    write_apps(tmp_path, ["default"])
    server = Server(tmp_path, "--workers", "1")
    try:
        app = AppOf(server, "default")
        until(lambda: EDGE.split("{")[0] in server.api.get("/metrics").text, within_s=WITHIN_S)
        before = Scrape(server.api.get("/metrics").text, time.monotonic())
        assert fired(before, Scrape(server.api.get("/metrics").text, before.at_s + 1)) == set()
        catchment("maintenance", "on", data_dir=tmp_path)
        with httpx.Client(base_url=server.ingest, trust_env=False, timeout=WITHIN_S) as balancer:
            until(lambda: balancer.get(READY_PATH).status_code == 503, within_s=WITHIN_S)
            for _ in range(20):
                assert balancer.get(READY_PATH).status_code == 503
                assert app.moesif("/v1/actions", {}).status_code == 503

        def refused() -> float:
            words = UNAVAILABLE % "maintenance"
            return sum(
                float(line.split()[1])
                for line in server.api.get("/metrics").text.splitlines()
                if line.startswith(words.strip())
            )

        until(lambda: refused() == 20, within_s=WITHIN_S)
        now = Scrape(server.api.get("/metrics").text, time.monotonic())
        ready = [dict(labels) for labels, value in now.samples.items() if value >= 20]
        assert any(labels.get("endpoint") == "health" and labels.get("status") == "5xx" for labels in ready)
        assert fired(before, now) == set()
    finally:
        assert server.stop() == 0
