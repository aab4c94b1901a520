"""Moesif's moesif-browser-js, unchanged but for its host, cannot tell the difference, nor can the browser around it.

Chromium opens a page of another origin, so it asks for permission as it does in the wild. Whatever went wrong it writes
to the page's console, and a test that does not expect anything there fails on it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import tomlkit
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Response, sync_playwright

from catchment import config
from tests.clients.programs import EXAMPLES, NODE_DIR, question_about
from tests.clients.proxy import Proxy
from tests.clients.site import site_of
from tests.conftest import AppOf, Server, until, write_apps

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
]
CAMPAIGN = {"utm_source": "google", "utm_campaign": "spring", "gclid": "G1"}
FLUSH_MS = 100  # how often batches are sent
WITHIN_S = 120.0


@pytest.fixture(scope="module")
def browser(chromium: str, node_modules: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with site_of(NODE_DIR / "site") as url:
        yield url


class Tab:
    """A page of a new visitor, and what its browser complained about."""

    def __init__(self, browser: Browser, site: str) -> None:
        self.site = site
        self.complaints: list[str] = []
        self.answers: list[Response] = []
        self._context = browser.new_context()
        self._context.set_default_timeout(WITHIN_S * 1000)
        self.page = self._new_page()

    def visit(self, path: str = "/") -> None:
        """Opens a page of the site."""
        self.page.goto(self.site + path)

    def init(self, app: AppOf, url: str, **options: Any) -> None:
        """`moesif.init` with the host of this URL."""
        application_id = app.keys["moesif"]["application_id"]
        self.run("init", {"applicationId": application_id, "host": urlsplit(url).netloc} | options)

    def run(self, function: str, *arguments: Any) -> Any:
        """Calls a function of the page."""
        return self.page.evaluate(f"given => {function}(...given)", list(arguments))

    def when_answered(self, count: int) -> list[str | None]:
        """What the client's callback was given, once it was called so often."""
        self.page.wait_for_function("count => answers.length >= count", arg=count)
        answers: list[str | None] = self.page.evaluate("answers")
        assert len(answers) == count, answers
        return answers

    def when_all_is_sent(self, count: int) -> None:
        """Waits until so many answers went well."""
        assert self.when_answered(count) == [None] * count

    def when_nothing_is_queued(self) -> None:
        self.page.wait_for_function("queued() === 0")

    def answered(self, path: str) -> list[int]:
        """The statuses of the answers that calls of this path got."""
        return [answer.status for answer in self.answers if urlsplit(answer.url).path == path]

    def close(self) -> None:
        self._context.close()

    def _new_page(self) -> Page:
        page = self._context.new_page()
        page.on("console", self._said)
        page.on("pageerror", self._failed)
        page.on("response", self._was_answered)
        return page

    def _said(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"{message.type}: {message.text}")

    def _was_answered(self, answer: Response) -> None:
        self.answers.append(answer)

    def _failed(self, error: Error) -> None:
        self.complaints.append(f"uncaught: {error}")


@pytest.fixture
def tab(browser: Browser, site: str) -> Iterator[Tab]:
    """A new visitor's page; nothing may be written to its console."""
    opened = Tab(browser, site)
    yield opened
    opened.close()
    assert opened.complaints == []


def test_a_first_visit_posts_an_anonymous_user_with_the_campaign_of_its_url(tab: Tab, app: AppOf, proxy: Proxy) -> None:
    tab.visit("/?utm_source=google&utm_campaign=spring&gclid=G1")
    tab.init(app, proxy.url)
    tab.when_all_is_sent(1)
    [call] = proxy.made("POST", "/v1/users")
    assert call.json == {"anonymous_id": tab.run("anonymousId"), "campaign": CAMPAIGN}
    assert proxy.tally() == {"OPTIONS /v1/users": 1, "POST /v1/users": 1}
    [visitor] = profiles(app, "visitors", 1)
    assert visitor["anonymous_id"] == tab.run("anonymousId")
    assert visitor["profile"]["campaign"] == CAMPAIGN
    assert visitor["campaign"]["gclid"] == "G1"
    assert visitor["agent"]["name"] == "HeadlessChrome"


def test_actions_of_a_visitor_without_name_carry_the_anonymous_id(tab: Tab, app: AppOf, proxy: Proxy) -> None:
    tab.visit("/?utm_source=google")
    tab.init(app, proxy.url)
    tab.run("moesif.track", "Viewed Docs", {"n": 1, "deep": {"er": [1, 2]}})
    tab.run("moesif.track", "Clicked")
    tab.when_all_is_sent(3)
    rows = {row["name"]: row for row in app.events(2)}
    expected = {
        "kind": "action",
        "anonymous_id": tab.run("anonymousId"),
        "user_id": "",
        "uri": f"{tab.site}/?utm_source=google",
        "verb": "GET",
        "ip": "127.0.0.1",
        "user_agent": tab.page.evaluate("navigator.userAgent"),
        "properties": {"n": 1, "deep": {"er": [1, 2]}},
        "late": False,
    }
    assert {name: rows["Viewed Docs"][name] for name in expected} == expected
    sent = {call.json["action_name"]: call.json for call in proxy.made("POST", "/v1/actions")}
    assert {name: row["event_id"] for name, row in rows.items()} == {
        name: action["transaction_id"] for name, action in sent.items()
    }
    assert all(row["time"] == row["received_at"] for row in rows.values()), "the browser sends no time"
    # Both actions may leave before the first permission is there.
    assert proxy.tally().pop("OPTIONS /v1/actions") in {1, 2}
    assert set(proxy.tally()) == {"OPTIONS /v1/users", "POST /v1/users", "OPTIONS /v1/actions", "POST /v1/actions"}


def test_an_identified_visitor_has_a_profile_and_a_company(tab: Tab, app: AppOf, proxy: Proxy) -> None:
    tab.visit("/?utm_source=google&utm_campaign=spring&gclid=G1")
    tab.init(app, proxy.url)
    tab.when_all_is_sent(1)
    tab.run("moesif.identifySession", "sess-1")
    tab.run("moesif.identifyUser", "u1", {"email": "a@b.c", "firstName": "Ana"})
    tab.when_all_is_sent(2)
    tab.run("moesif.identifyCompany", "c1", {"orgName": "Acme"}, "acme.com")
    tab.when_all_is_sent(3)
    tab.run("moesif.track", "Signed Up", {"plan": "pro"})
    tab.when_all_is_sent(4)
    [row] = app.events(1)
    assert (row["name"], row["user_id"], row["company_id"]) == ("Signed Up", "u1", "c1")
    [user] = profiles(app, "users", 1)
    assert user["user_id"] == "u1"
    assert user["profile"]["metadata"] == {"email": "a@b.c", "firstName": "Ana"}
    assert user["profile"]["campaign"] == CAMPAIGN
    assert user["session_tokens"] == [row["session_token"]]
    assert row["session_token"].startswith("hash:")
    [company] = profiles(app, "companies", 1)
    assert company["company_id"] == "c1"
    assert company["profile"]["company_domain"] == "acme.com"
    assert company["profile"]["metadata"] == {"orgName": "Acme"}
    assert {path: count for path, count in proxy.tally().items() if path.startswith("POST")} == {
        "POST /v1/users": 2,
        "POST /v1/companies": 1,
        "POST /v1/actions": 1,
    }


def test_the_past_of_an_identified_visitor_is_found_by_the_user_id(tab: Tab, app: AppOf) -> None:
    tab.visit("/?utm_source=google&utm_campaign=spring&gclid=G1")
    tab.init(app, app.server.ingest)
    tab.run("moesif.track", "Viewed Docs")
    tab.run("moesif.start")
    tab.run("fetch", "/api/items")
    tab.when_all_is_sent(3)
    anonymous_id = tab.run("anonymousId")
    tab.run("moesif.identifyUser", "u1", {"email": "a@b.c"})
    tab.when_all_is_sent(4)
    tab.run("moesif.track", "Signed Up")
    tab.when_all_is_sent(5)
    query = "SELECT name, anonymous_id, identified_by FROM events WHERE app = {app:String} AND user_id = 'u1'"
    rows = {row["name"]: row for row in app.server.rows_when(3, query, app=app.name)}
    assert set(rows) == {"Viewed Docs", "GET /api/items", "Signed Up"}
    assert rows["Viewed Docs"]["anonymous_id"] == rows["GET /api/items"]["anonymous_id"] == anonymous_id
    assert rows["Viewed Docs"]["identified_by"] == rows["GET /api/items"]["identified_by"] == "anonymous_id"
    [user] = app.server.rows_when(
        1, "SELECT * FROM users WHERE app = {app:String} AND profile.metadata.email::String = 'a@b.c'", app=app.name
    )
    assert user["profile"]["campaign"] == CAMPAIGN


def test_calls_by_fetch_and_by_xhr_are_captured_and_its_own_are_not(tab: Tab, app: AppOf, proxy: Proxy) -> None:
    tab.visit()
    tab.init(app, proxy.url)
    tab.run("moesif.identifyUser", "u1")
    tab.when_all_is_sent(2)
    tab.run("moesif.start")
    options = {"method": "POST", "headers": {"Content-Type": "application/json", "Authorization": "Bearer secret"}}
    tab.run("fetch", "/api/fetched?a=1", options | {"body": json.dumps({"a": 1})})
    tab.run("viaXhr", "POST", "/api/asked", {"b": 2})
    tab.run("viaXhr", "GET", "/api/nothing")
    tab.when_all_is_sent(5)
    rows = {row["name"]: row for row in app.events(3)}
    assert set(rows) == {"POST /api/fetched", "POST /api/asked", "GET /api/nothing"}
    for row in rows.values():
        assert (row["kind"], row["status"], row["user_id"], row["late"]) == ("api_call", 200, "u1", False)
        assert row["uri"].startswith(tab.site)
        assert "HeadlessChrome" in row["user_agent"]
        assert row["duration_ms"] >= 0
        assert row["tags"] == []
    fetched = rows["POST /api/fetched"]
    assert fetched["uri"] == f"{tab.site}/api/fetched?a=1"
    assert json.loads(fetched["request_body"]) == {"a": 1}
    assert json.loads(fetched["response_body"]) == {"path": "/api/fetched?a=1", "sent": {"a": 1}}
    assert json.loads(fetched["request_headers"])["authorization"].startswith("Bearer hash:")
    assert "secret" not in str(fetched)
    assert json.loads(rows["POST /api/asked"]["request_body"]) == {"b": 2}
    assert len(proxy.made("POST", "/v1/events")) == 3


def test_batches_are_sent_and_their_queue_is_emptied(tab: Tab, app: AppOf, proxy: Proxy) -> None:
    tab.visit()
    tab.init(app, proxy.url, batchEnabled=True, batchMaxTime=FLUSH_MS, batchSize=10)
    tab.run("moesif.start")
    for number in range(12):
        tab.run("moesif.track", f"Clicked {number}")
        tab.run("fetch", f"/api/items/{number}")
    until(lambda: batched(proxy) >= 24, within_s=WITHIN_S)
    tab.when_nothing_is_queued()
    names = {row["name"] for row in app.events(24)}
    assert names == {f"Clicked {number}" for number in range(12)} | {f"GET /api/items/{number}" for number in range(12)}
    assert batched(proxy) == 24, "each was sent once"
    paths = {"users", "events/batch", "actions/batch"}
    assert set(proxy.tally()) == {f"{method} /v1/{path}" for method in ("OPTIONS", "POST") for path in paths}


def test_what_a_closed_page_left_behind_is_sent_by_the_next_and_counts_once(tab: Tab, app: AppOf, proxy: Proxy) -> None:
    tab.visit()
    tab.init(app, proxy.url, batchEnabled=True, batchMaxTime=10 * FLUSH_MS)
    tab.run("moesif.track", "Left")
    # Going away sends what is queued; it cannot wait for the answer, so it stays queued as well.
    tab.page.evaluate("location.href = '/?next'")
    tab.page.wait_for_url("**/?next")
    tab.page.wait_for_function("typeof queued === 'function'")
    tab.init(app, proxy.url, batchEnabled=True, batchMaxTime=FLUSH_MS)
    tab.run("moesif.track", "Arrived")
    assert {row["name"] for row in app.events(2)} == {"Left", "Arrived"}
    tab.when_nothing_is_queued()
    assert len(app.events(2)) == 2


def test_a_batch_whose_answer_was_lost_is_sent_again_and_counts_once(
    browser: Browser, site: str, app: AppOf, proxy: Proxy
) -> None:
    tab = Tab(browser, site)
    tab.visit()
    tab.init(app, proxy.url, batchEnabled=True, batchMaxTime=FLUSH_MS)
    with tab.page.expect_response("**/v1/actions/batch"):
        tab.run("moesif.track", "Opened")  # after this one the browser asks for permission no more
    proxy.losses.append("/v1/actions/batch")
    tab.run("moesif.track", "Clicked")
    until(lambda: len(proxy.made("POST", "/v1/actions/batch")) == 3, within_s=WITHIN_S)
    tab.when_nothing_is_queued()
    tab.close()
    _, sent, again = (call.json for call in proxy.made("POST", "/v1/actions/batch"))
    assert sent == again
    assert {row["name"] for row in app.events(2)} == {"Opened", "Clicked"}
    assert all("Failed to load resource" in complaint for complaint in tab.complaints)


def test_reset_makes_another_visitor(tab: Tab, app: AppOf) -> None:
    tab.visit()
    tab.init(app, app.server.ingest)
    tab.run("moesif.identifyUser", "u1")
    first = tab.run("anonymousId")
    tab.run("moesif.reset")
    second = tab.run("anonymousId")
    tab.run("moesif.track", "Came Back")
    tab.when_all_is_sent(3)
    [row] = app.events(1)
    assert (row["anonymous_id"], row["user_id"], row["company_id"], row["session_token"]) == (second, "", "", "")
    assert first != second


def test_a_known_visitor_is_not_posted_again(tab: Tab, app: AppOf, proxy: Proxy) -> None:
    tab.visit()
    tab.init(app, proxy.url)
    tab.run("moesif.identifyUser", "u1")
    tab.when_all_is_sent(2)
    tab.visit("/?second")
    tab.init(app, proxy.url)
    tab.run("moesif.track", "Came Back")
    tab.when_all_is_sent(1)
    [row] = app.events(1)
    assert row["user_id"] == "u1"
    assert len(proxy.made("POST", "/v1/users")) == 2


# Refusals


def test_the_page_is_told_that_the_application_id_is_wrong(browser: Browser, site: str, app: AppOf) -> None:
    tab = Tab(browser, site)
    tab.visit()
    tab.init(app, app.server.ingest, applicationId="nobody")
    assert tab.when_answered(1) == ["Bad HTTP status: 401 Unauthorized"], "status 0 would mean that CORS hid the answer"
    tab.close()
    assert len(tab.complaints) == 1
    assert "401" in tab.complaints[0]


def test_a_refused_batch_is_dropped_and_not_sent_for_ever(browser: Browser, site: str, app: AppOf) -> None:
    tab = Tab(browser, site)
    tab.visit()
    tab.init(app, app.server.ingest, applicationId="nobody", batchEnabled=True, batchMaxTime=FLUSH_MS)
    with tab.page.expect_response("**/v1/actions/batch"):
        tab.run("moesif.track", "Clicked")
    tab.when_nothing_is_queued()
    tab.close()
    assert tab.answered("/v1/actions/batch") == [401]
    assert all("401" in complaint for complaint in tab.complaints)


@pytest.fixture
def strict_app(tmp_path: Path) -> Iterator[AppOf]:
    """An application of a server that takes small batches only."""
    data_dir = tmp_path / "server"
    write_apps(data_dir, ["default"])
    file = data_dir / config.FILE_NAME
    document: Any = tomlkit.parse(file.read_text())
    document["limits"]["moesif_actions_batch_bytes_max"] = 256 * 1024
    file.write_text(tomlkit.dumps(document))
    server = Server(data_dir, "--workers", "1")
    yield AppOf(server, "default")
    assert server.stop() == 0


def test_a_batch_that_is_too_large_is_halved_until_it_fits(browser: Browser, site: str, strict_app: AppOf) -> None:
    tab = Tab(browser, site)
    tab.visit()
    tab.init(strict_app, strict_app.server.ingest, batchEnabled=True, batchMaxTime=FLUSH_MS)
    # 1 MB in one batch; three of these fit.
    tab.page.evaluate("for (let n = 0; n < 20; n++) moesif.track(`Clicked ${n}`, { text: 'x'.repeat(50000) })")
    assert {row["name"] for row in strict_app.events(20)} == {f"Clicked {number}" for number in range(20)}
    tab.when_nothing_is_queued()
    tab.close()
    statuses = tab.answered("/v1/actions/batch")
    assert set(statuses) == {413, 201}
    assert statuses.count(413) <= 4, "from 25 over 12 and 6 to 3"
    assert all("413" in complaint for complaint in tab.complaints)


# Example


def test_the_example_page_sends_its_events(browser: Browser, app: AppOf) -> None:
    with site_of(EXAMPLES / "browser") as url:
        tab = Tab(browser, url)
        tab.visit()
        tab.page.get_by_label("URL").fill(app.server.ingest)
        tab.page.get_by_label("Application id").fill(app.keys["moesif"]["application_id"])
        tab.page.get_by_role("button").click()
        tab.page.get_by_text("5 calls were taken.").wait_for()
        tab.close()
    assert tab.complaints == []
    names = {"Opened Cart", "GET /package.json"}
    assert {row["name"] for row in app.events(2)} == names
    assert {row["name"] for row in app.server.sql(question_about("browser/index.html"))} == names
    assert {row["user_id"] for row in profiles(app, "users", 1)} == {"browser-user"}
    assert {row["company_id"] for row in profiles(app, "companies", 1)} == {"browser-company"}


def batched(proxy: Proxy) -> int:
    """How many elements of batches were sent."""
    return sum(len(call.json) for call in proxy.calls if call.method == "POST" and call.path.endswith("/batch"))


def profiles(app: AppOf, view: str, count: int) -> list[dict[str, Any]]:
    """The rows of a view of profiles once there are `count` with something in them."""
    query = f"SELECT * FROM {view} WHERE app = {{app:String}} AND toString(profile) != '{{}}'"
    return app.server.rows_when(count, query, app=app.name)
