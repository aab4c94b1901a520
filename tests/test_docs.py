"""The documentation says what is so: its links lead somewhere, its tables are the schema's and the settings', its
examples are run and give the answers that it prints."""

import asyncio
import itertools
import json
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cyclopts import App

from catchment import record
from catchment.cli import commands
from catchment.log.disk import LocalDisk
from catchment.log.reader import SegmentReader
from catchment.log.segment import scan
from catchment.log.writer import SegmentWriter
from catchment.settings import Log
from tests.clients.programs import curl
from tests.conftest import TOKEN, AppOf, Server, catchment, until

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SQL_PAGE = DOCS / "sql.md"
VIEWS = ("events", "users", "visitors", "companies", "subscriptions", "rejections", "ledger")
NOT_RUN = ("make ", "git ")  # chores of a checkout, not of a server
RUN_ON = [ROOT / "README.md", SQL_PAGE]
# Variables that take any text at all.
FREE_TEXTS = {
    "CATCHMENT_INGEST__HOST",
    "CATCHMENT_INGEST__TLS_CERT",
    "CATCHMENT_INGEST__TLS_KEY",
    "CATCHMENT_CONSOLE__HOST",
    "CATCHMENT_PRIVACY__HASH_KEY",
}

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)|(?:src|srcset|href)=\"(?P<attribute>[^\"]+)\"")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_TEST_NAME = re.compile(r"`(test_\w+)`")
_COMMAND = re.compile(r"\bcatchment ([a-z][a-z-]*(?: check)?)\b")


class Block(NamedTuple):
    """A fenced block: the words behind its fence, its text, and the heading above it."""

    info: str
    text: str
    heading: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(found["info"], found["text"], _HEADING.findall(text, 0, found.start())[-1])
        for found in _FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The ids that headings get on the usual viewers."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


# Links


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in _LINK.finditer(prose(page)):
        target, _, anchor = (link["target"] or link["attribute"]).partition("#")
        if "://" in target:
            continue
        path = (page.parent / target) if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    known = set()
    for path in (ROOT / "tests").rglob("*.py"):
        known.update(re.findall(r"def (test_\w+)\(", path.read_text("utf-8")))
    assert set(_TEST_NAME.findall(prose(page))) <= known


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    code = "\n".join([*re.findall(r"`([^`\n]+)`", prose(page)), *(block.text for block in blocks(page))])
    assert set(_COMMAND.findall(code)) <= command_names(commands.app), text


def command_names(app: App) -> set[str]:
    """`serve`, ..., and `config check`."""
    found: set[str] = set()
    for name in app:
        if not name.startswith("-"):
            found.add(name)
            found.update(f"{name} {inner}" for inner in app[name] if not inner.startswith("-"))
    return found


# Settings and record


def test_the_configuration_page_is_what_its_script_prints() -> None:
    script = ROOT / "scripts" / "configuration_page.py"
    printed = subprocess.run([sys.executable, str(script)], capture_output=True, check=True).stdout.decode()
    assert (DOCS / "configuration.md").read_text("utf-8") == printed, f"run {named(script)} > docs/configuration.md"


def test_every_environment_variable_of_the_configuration_page_sets_its_setting(tmp_path: Path) -> None:
    catchment_toml = tmp_path / "catchment.toml"
    page = (DOCS / "configuration.md").read_text("utf-8")
    for block in blocks(DOCS / "configuration.md"):
        if block.info == "toml":
            catchment_toml.write_text(block.text)
    names = set(re.findall(r"`(CATCHMENT_[A-Z]+__[A-Z0-9_]+)`", page))
    assert len(names) > 20
    wrong = dict.fromkeys(names, "[")  # no setting takes that, so each must be complained about
    wrong = {name: value for name, value in wrong.items() if name not in FREE_TEXTS}
    complaints = catchment("config", "check", data_dir=tmp_path, code=2, environment=wrong)
    for name in wrong:
        key = name.removeprefix("CATCHMENT_").lower().replace("__", ".")
        assert f"- {key}: found " in complaints, complaints


def test_the_example_configuration_and_its_variables_are_sound(tmp_path: Path) -> None:
    [example] = [block.text for block in blocks(DOCS / "configuration.md") if block.info == "toml"]
    [variables] = [block.text for block in blocks(DOCS / "configuration.md") if block.info == "sh"]
    (tmp_path / "catchment.toml").write_text(example)
    environment = dict(line.partition("=")[::2] for line in shlex.split(variables))
    assert "is sound: shop, billing, Partner" in catchment(
        "config", "check", data_dir=tmp_path, environment=environment
    )


def test_the_architecture_page_has_every_field_of_a_record() -> None:
    page = (DOCS / "architecture.md").read_text("utf-8")
    section = page.partition("## The record")[2].partition("\n## ")[0]
    first_cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    described = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    kinds = (record.EventRecord, record.ProfileRecord, record.RejectionRecord, record.ReplayRecord)
    assert described == {field for kind in kinds for field in kind.__struct_fields__}


def test_the_segment_of_the_log_page_is_a_sound_one() -> None:
    [example] = [block.text.encode() for block in blocks(DOCS / "log.md") if block.info == "json"]
    found = scan(example)
    assert (found.end, len(found.groups), found.damaged) == (len(example), 4, [])


# SQL


@pytest.mark.parametrize("view", VIEWS)
def test_the_columns_of_the_sql_page_are_those_of_the_view(server: Server, view: str) -> None:
    section = SQL_PAGE.read_text("utf-8").partition(f"### {view}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    printed = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, re.MULTILINE)
    described = server.sql(f"DESCRIBE {view}")
    assert printed == [(row["name"], one_line(row["type"])) for row in described]


def one_line(type_name: str) -> str:
    return re.sub(r"\(\s+", "(", re.sub(r"\s+", " ", type_name))


@pytest.fixture(scope="module")
def shop(server: Server, _app_names: Iterator[str]) -> AppOf:
    """An application that was sent the data of the SQL page."""
    shop = AppOf(server, next(_app_names))
    for block in blocks(SQL_PAGE):
        language, _, status = block.info.partition(" ")
        if language == "http":
            answer = send(shop, block.text)
            assert answer.status_code == int(status), answer.text
    until(lambda: loaded(shop), within_s=60)
    return shop


def send(shop: AppOf, text: str) -> Any:
    """Sends `POST path`, a line break and a body."""
    line, _, body = text.partition("\n")
    path = line.removeprefix("POST ").replace("LIVE_API_KEY", shop.keys["batch"]["live"])
    path = path.replace("PLATFORM", shop.keys["moloco"]["platform"])
    keys = {"/v1/": shop.moesif_headers, "/1.0/": shop.batch_headers, "/rmp/": shop.moloco_headers, "/t/": {}}
    [headers] = [headers for start, headers in keys.items() if path.startswith(start)]
    return shop.post(path, body.rstrip("\n"), headers)


def loaded(shop: AppOf) -> bool:
    """Whether everything is visible: the refusals, too, which nobody waits for when they are answered."""
    refused = shop.server.sql("SELECT count() AS n FROM rejections WHERE app = {app:String}", app=shop.name)[0]["n"]
    wanted = sum(block.info == "http 400" for block in blocks(SQL_PAGE))
    lag: int = shop.server.api.get("/api/status").json()["lag"]["unread_bytes"]
    return refused == wanted and lag == 0


def questions() -> list[tuple[str, str, Block]]:
    """Every SQL block with its heading and the block behind it: `json`, rows line by line, or `text`, an error."""
    found = blocks(SQL_PAGE)
    return [(block.heading, block.text, answer) for block, answer in itertools.pairwise(found) if block.info == "sql"]


@pytest.mark.parametrize(
    ("sql", "answer"),
    [pytest.param(sql, answer, id=f"{number} {heading}") for number, (heading, sql, answer) in enumerate(questions())],
)
def test_a_question_of_the_sql_page_gives_the_answer_of_the_page(shop: AppOf, sql: str, answer: Block) -> None:
    response = shop.server.api.post("/api/sql", json={"query": sql.replace("'shop'", f"'{shop.name}'")})
    if answer.info == "text":
        assert response.status_code == 400
        assert answer.text.strip()
        assert answer.text.strip() in response.json()["error"]
    else:
        assert answer.info == "json"
        assert response.status_code == 200, response.text
        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert rows
        assert response.json()["rows"] == rows


# Commands


def shell_blocks() -> list[Any]:
    return [
        pytest.param(block.text, id=f"{named(page)} {number} {block.heading}")
        for page in RUN_ON
        for number, block in enumerate(blocks(page))
        if block.info == "sh" and not block.text.startswith(NOT_RUN)
    ]


@pytest.fixture
def checkout(shop: AppOf, tmp_path: Path) -> Path:
    """A folder with the data of the running server where the quick start has it, and the command beside it."""
    program = tmp_path / ".venv" / "bin" / "catchment"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m catchment "$@"\n')
    program.chmod(0o700)
    (tmp_path / "data").symlink_to(shop.server.data_dir)
    return tmp_path


def filled_in(text: str, shop: AppOf) -> str:
    """The text with this server's addresses and this application's keys."""
    values = {
        "APPLICATION_ID": shop.keys["moesif"]["application_id"],
        "REST_API_KEY": shop.keys["batch"]["rest_api_key"],
        "LIVE_API_KEY": shop.keys["batch"]["live"],
        "PLATFORM": shop.keys["moloco"]["platform"],
        "API_KEY": shop.keys["moloco"]["api_key"],
        "CONSOLE_TOKEN": TOKEN,
    }
    text = text.replace("http://127.0.0.1:8080", shop.server.ingest)
    text = text.replace("http://127.0.0.1:8081", shop.server.console)
    return re.sub(r"\b[A-Z_]+\b", lambda found: values.get(found[0], found[0]), text)


@pytest.mark.parametrize("text", shell_blocks())
def test_the_commands_of_a_page_work_when_pasted(shop: AppOf, checkout: Path, text: str) -> None:
    curl()
    script = filled_in(text, shop).replace("curl ", "curl --fail-with-body ")
    path = f"{checkout / '.venv' / 'bin'}:/usr/bin:/bin"
    done = subprocess.run(
        ["sh", "-eu", "-c", script], cwd=checkout, env={"PATH": path}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


def test_the_python_client_of_the_readme_sends_its_event(shop: AppOf) -> None:
    [text] = [block.text for block in blocks(ROOT / "README.md") if block.info == "python"]
    done = subprocess.run([sys.executable, "-c", filled_in(text, shop)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    query = "SELECT user_id, late FROM events WHERE app = {app:String} AND name = 'GET /items/42'"
    assert shop.server.rows_when(1, query, app=shop.name) == [{"user_id": "12345", "late": False}]


# What docs/log.md says of crashes and no other test shows


async def test_a_position_behind_the_end_of_a_segment_is_no_obstacle(tmp_path: Path) -> None:
    def line(number: int) -> bytes:
        return b'{"app":"a","n":%d}\n' % number

    writer = SegmentWriter(LocalDisk(), tmp_path, Log(), loop=asyncio.get_running_loop())
    for number in range(3):
        await writer.append(line(number))
    await writer.close()
    reader = SegmentReader(LocalDisk(), tmp_path, Log())
    taken = reader.read(1 << 20)
    assert taken is not None
    reader.commit(taken)
    [segment] = (tmp_path / "edge-0").glob("*.ndjson")
    segment.write_bytes(segment.read_bytes()[:100])  # what a power cut may leave of a group that was not synced
    assert reader.read(1 << 20) is None
    writer = SegmentWriter(LocalDisk(), tmp_path, Log(), loop=asyncio.get_running_loop())
    await writer.append(line(3))
    await writer.close()
    fresh = SegmentReader(LocalDisk(), tmp_path, Log()).read(1 << 20)
    assert fresh is not None
    assert fresh.lines.endswith(line(3))


def test_a_second_server_on_one_data_dir_is_refused(server: Server) -> None:
    refusal = catchment("serve", "--port", "0", "--console-port", "0", data_dir=server.data_dir, code=1)
    assert f"is in use by a running Catchment (process {server.process.pid})" in refusal


# What docs/decisions says and no other test shows


def test_one_id_with_times_on_two_days_is_two_events(app: AppOf) -> None:
    times = ("2026-03-02T23:59:59Z", "2026-03-02T00:00:01Z", "2026-03-03T00:00:01Z")
    for time in times:
        action = {"action_name": "A", "transaction_id": "t", "request": {"time": time}}
        assert app.moesif("/v1/actions", action).status_code == 201
    assert [row["time"][:19] for row in app.events(2)] == ["2026-03-02 23:59:59", "2026-03-03 00:00:01"]


def test_folding_the_leaves_is_the_recursive_merge(app: AppOf) -> None:
    chance = random.Random(SEED)
    expected: dict[str, Any] = {}
    updates: list[dict[str, Any]] = []
    for _ in range(UPDATES):
        user, metadata = f"u{chance.randrange(USERS)}", an_object(chance, depth=3)
        updates.append({"user_id": user, "metadata": metadata})
        expected[user] = merged(expected.get(user, {}), metadata)
    assert app.moesif("/v1/users/batch", updates).status_code == 201
    until(lambda: app.server.api.get("/api/status").json()["lag"]["unread_bytes"] == 0, within_s=60)
    query = "SELECT user_id, profile.^metadata AS metadata FROM users WHERE app = {app:String}"
    found = {row["user_id"]: row["metadata"] for row in app.server.rows_when(len(expected), query, app=app.name)}
    assert found == {user: without_empty(metadata) for user, metadata in expected.items()}


SEED, USERS, UPDATES = 20261122, 60, 600


def an_object(chance: random.Random, depth: int) -> dict[str, Any]:
    """Few keys, so that updates meet; never an object of nothing but nulls, of which no leaf is left."""
    made = {key: a_value(chance, depth) for key in chance.sample("abc", chance.randrange(4))}
    return made if any(value is not None for value in made.values()) else {}


def a_value(chance: random.Random, depth: int) -> Any:
    if depth and chance.random() < 0.6:
        return an_object(chance, depth - 1)
    return chance.choice([None, chance.randrange(9), chance.choice("xy"), True, [chance.randrange(9)]])


def merged(old: Any, new: Any) -> Any:
    """The vendor's merge: objects member by member, anything else replaces, null means that nothing was given."""
    if not isinstance(new, dict):
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is not None:
            result[key] = merged(result.get(key), value)
    return result


def without_empty(document: dict[str, Any]) -> dict[str, Any]:
    """What a JSON column keeps of it: no empty objects below the top."""
    kept = {key: without_empty(value) if isinstance(value, dict) else value for key, value in document.items()}
    return {key: value for key, value in kept.items() if value != {}}
