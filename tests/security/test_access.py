"""The console's port: who gets in, who does not, and what every answer carries."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
import tomlkit

from catchment import config
from catchment.api.access import PEERS_MAX, Access, FailedLogins, NotAllowed
from catchment.api.app import core_app
from catchment.api.shield import HSTS, STRICT_HEADERS, Hosts, Shield
from catchment.settings import Console
from catchment.tokens import new_token, token_hash
from catchment.watch import FileWatch
from tests.conftest import TOKEN, Server, catchment, give_token, until, write_apps
from tests.security.test_files import there

WITHIN_S = 60.0
RIGHT = {"authorization": f"Bearer {TOKEN}"}
WRONG = {"authorization": f"Bearer {new_token()}"}
ATTEMPTS_MAX = 10


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the bounds of a fresh one, which can also be asked as `watcher.example`."""
    data_dir = tmp_path_factory.mktemp("guarded")
    give_token(data_dir)
    document = tomlkit.parse((data_dir / config.FILE_NAME).read_text())
    document["console"]["hosts"] = ["Watcher.example"]
    (data_dir / config.FILE_NAME).write_text(tomlkit.dumps(document))
    running = Server(data_dir, "--workers", "1")
    yield running
    assert running.stop() == 0


def access_of(tmp_path: Path, **settings: object) -> Access:
    """A guard whose token is `TOKEN`, and whose run has none."""
    console = Console.model_validate({"token": TOKEN} | settings)
    return Access(console, None, FileWatch(tmp_path / "file"), lambda: console)


def raw(url: str, request: bytes) -> bytes:
    """What a server answers to these bytes until it closes the connection."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 0), timeout=WITHIN_S) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def asked_from(address: str, url: str, headers: dict[str, str]) -> int:
    """The status that somebody at this address of the machine gets."""
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=WITHIN_S) as http:
        return http.get(f"{url}/api/status", headers=headers).status_code


class TestAtRest:
    def test_the_token_is_in_no_file_of_the_data_dir(self, guarded: Server) -> None:
        assert guarded.api.get("/api/status").status_code == 200
        read = 0
        for path in there(guarded.data_dir):
            with suppress(FileNotFoundError, IsADirectoryError):  # the server may put another one in its place
                assert TOKEN.encode() not in path.read_bytes(), path
                read += 1
        assert read > 10

    def test_the_token_is_in_the_environment_of_no_process(self, guarded: Server) -> None:
        for pid in (guarded.process.pid, *guarded.parts("edge"), *guarded.parts("core")):
            process = psutil.Process(pid)
            told = " ".join([*process.environ().values(), *process.cmdline()])
            assert TOKEN not in told
            assert json.loads((guarded.data_dir / "run.json").read_text())["secret"] not in told

    def test_a_token_of_the_environment_needs_none_in_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CATCHMENT_CONSOLE__TOKEN", TOKEN)
        first = config.ensure_file(tmp_path)
        assert first == config.First(None)
        assert "console" not in tomlkit.parse((tmp_path / config.FILE_NAME).read_text())
        assert config.load(tmp_path).console.kept_hash == token_hash(TOKEN)
        told = catchment("token", data_dir=tmp_path, code=2)
        assert told.startswith("the console's token comes from CATCHMENT_CONSOLE__TOKEN: change it there")
        running = Server(tmp_path, "--workers", "1")
        assert running.api.get("/api/status").status_code == 200
        assert running.stop() == 0


class TestTheSecretOfTheRun:
    def test_it_is_for_the_owner_alone_and_opens_the_port(self, guarded: Server) -> None:
        file = guarded.data_dir / "run.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        secret = json.loads(file.read_text())["secret"]
        headers = {"authorization": f"Bearer {secret}"}
        assert guarded.http.get(guarded.console + "/api/status", headers=headers).status_code == 200

    def test_it_ends_with_its_run(self, tmp_path: Path) -> None:
        running = Server(tmp_path, "--workers", "1")
        secrets = [json.loads((tmp_path / "run.json").read_text())["secret"]]
        assert running.stop() == 0
        running.start()
        secrets.append(json.loads((tmp_path / "run.json").read_text())["secret"])
        statuses = [
            running.http.get(running.console + "/api/status", headers={"authorization": f"Bearer {secret}"}).status_code
            for secret in secrets
        ]
        assert running.stop() == 0
        assert statuses == [401, 200]


class TestAnotherToken:
    def test_a_running_server_takes_it_and_refuses_the_one_before(self, tmp_path: Path) -> None:
        write_apps(tmp_path, ["default"])  # which lets anybody try often
        running = Server(tmp_path, "--workers", "1")
        before = (tmp_path / config.FILE_NAME).read_text()
        fresh = catchment("token", data_dir=tmp_path).removesuffix("\n")
        after = (tmp_path / config.FILE_NAME).read_text()
        assert after == before.replace(token_hash(TOKEN), token_hash(fresh))
        assert stat.S_IMODE((tmp_path / config.FILE_NAME).stat().st_mode) == 0o600

        def asked(token: str) -> int:
            headers = {"authorization": f"Bearer {token}"}
            return running.http.get(running.console + "/api/status", headers=headers).status_code

        until(lambda: asked(fresh) == 200, within_s=WITHIN_S)
        assert asked(TOKEN) == 401
        wrong = running.http.get(running.console + "/api/status", headers={"authorization": f"Bearer {TOKEN}"})
        assert "the one that `catchment token` printed last" in wrong.json()["error"]
        assert "a" in catchment("sql", "SELECT 1 AS a", data_dir=tmp_path)
        assert running.stop(check_books=False) == 0

    def test_it_takes_the_place_of_a_plain_one(self, tmp_path: Path) -> None:
        give_token(tmp_path)
        file = tmp_path / config.FILE_NAME
        file.write_text(file.read_text().replace(f'token_hash = "{token_hash(TOKEN)}"', f'token = "{TOKEN}" # plain'))
        assert config.load(tmp_path).console.kept_hash == token_hash(TOKEN)
        fresh = catchment("token", data_dir=tmp_path).removesuffix("\n")
        assert TOKEN not in file.read_text()
        assert config.load(tmp_path).console.kept_hash == token_hash(fresh)

    def test_it_is_made_where_none_was_given(self, tmp_path: Path) -> None:
        file = tmp_path / config.FILE_NAME
        file.write_text(config.first_file())
        told = catchment("config", "check", data_dir=tmp_path, code=2)
        assert "console: missing; `catchment token` makes a token and writes its hash" in told
        fresh = catchment("token", data_dir=tmp_path).removesuffix("\n")
        assert config.load(tmp_path).console.kept_hash == token_hash(fresh)

    def test_a_link_stays_one(self, tmp_path: Path) -> None:
        real = tmp_path / "elsewhere"
        give_token(real)
        data_dir = tmp_path / "data"
        data_dir.mkdir()
        (data_dir / config.FILE_NAME).symlink_to(real / config.FILE_NAME)
        fresh = catchment("token", data_dir=data_dir).removesuffix("\n")
        assert (data_dir / config.FILE_NAME).is_symlink()
        assert token_hash(fresh) in (real / config.FILE_NAME).read_text()

    @pytest.mark.parametrize("mistake", ["x = [", "[sql]\nrows_max = 0\n", "console = 5\n[x]\n", "\xff"])
    def test_a_file_with_mistakes_is_told_and_left_as_it_is(self, tmp_path: Path, mistake: str) -> None:
        give_token(tmp_path)
        file = tmp_path / config.FILE_NAME
        wrong = (file.read_text() + "\n").encode() + mistake.encode("latin-1")
        file.write_bytes(wrong)
        assert str(file) in catchment("token", data_dir=tmp_path, code=2)
        assert file.read_bytes() == wrong
        assert [path.name for path in tmp_path.iterdir()] == [config.FILE_NAME]

    def test_a_data_dir_without_a_file_is_told(self, tmp_path: Path) -> None:
        assert "there is no catchment.toml" in catchment("token", data_dir=tmp_path, code=2)


class TestFailedLogins:
    def test_an_address_may_try_again_after_a_minute(self) -> None:
        now = [100.0]
        failed = FailedLogins(3, lambda: now[0])
        for _ in range(3):
            assert failed.wait_s("192.0.2.1") == 0
            failed.note("192.0.2.1")
        assert failed.wait_s("192.0.2.1") == 60
        assert failed.wait_s("192.0.2.2") == 0
        now[0] += 59.9
        assert failed.wait_s("192.0.2.1") == 1
        now[0] += 0.2
        assert failed.wait_s("192.0.2.1") == 0
        failed.note("192.0.2.1")
        assert failed.wait_s("192.0.2.1") == 0

    def test_addresses_of_one_network_of_ipv6_are_one(self) -> None:
        failed = FailedLogins(1)
        failed.note("2001:db8::1")
        assert failed.wait_s("2001:db8::ffff:2%eth0") > 0
        assert failed.wait_s("2001:db8:0:1::1") == 0

    def test_many_addresses_cost_no_more_memory_and_get_no_more_tries(self) -> None:
        failed = FailedLogins(2)
        for number in range(PEERS_MAX * 4):
            failed.note(f"10.0.{number // 256}.{number % 256}")
        assert len(failed._peers) <= PEERS_MAX + 1
        assert failed.wait_s("192.0.2.1") > 0  # of those that are counted together

    def test_when_they_are_forgotten_there_is_room_again(self) -> None:
        now = [0.0]
        failed = FailedLogins(1, lambda: now[0])
        for number in range(PEERS_MAX * 2):
            failed.note(f"10.0.{number // 256}.{number % 256}")
        now[0] = 61.0
        failed.note("192.0.2.1")
        assert list(failed._peers) == ["192.0.2.1/32"]

    def test_the_right_token_is_not_looked_at_after_too_many_wrong_ones(self, tmp_path: Path) -> None:
        access = access_of(tmp_path, failed_logins_per_minute_max=2)
        for _ in range(2):
            with pytest.raises(NotAllowed) as refused:
                access.check("Bearer wrong", "192.0.2.1")
            assert refused.value.wait_s == 0
        with pytest.raises(NotAllowed) as refused:
            access.check(f"Bearer {TOKEN}", "192.0.2.1")
        assert refused.value.wait_s > 0
        access.check(f"Bearer {TOKEN}", "192.0.2.2")

    def test_who_sends_no_token_has_not_tried(self, tmp_path: Path) -> None:
        access = access_of(tmp_path, failed_logins_per_minute_max=1)
        for _ in range(3):
            with pytest.raises(NotAllowed):
                access.check(None, "192.0.2.1")
        access.check(f"Bearer {TOKEN}", "192.0.2.1")

    def test_over_the_wire_it_is_429_for_that_address_and_nobody_else(self, guarded: Server) -> None:
        statuses = [asked_from("127.0.0.9", guarded.console, WRONG) for _ in range(ATTEMPTS_MAX + 1)]
        assert statuses == [401] * ATTEMPTS_MAX + [429]
        forwarded = {"x-forwarded-for": "192.0.2.77", "forwarded": "for=192.0.2.77"}
        assert asked_from("127.0.0.9", guarded.console, RIGHT | forwarded) == 429
        assert asked_from("127.0.0.10", guarded.console, RIGHT) == 200

    def test_it_does_not_lock_out_the_commands_of_this_machine(self, guarded: Server) -> None:
        try:
            for _ in range(ATTEMPTS_MAX):
                assert asked_from("127.0.0.1", guarded.console, WRONG) == 401
            answer = guarded.http.get(guarded.console + "/api/status", headers=RIGHT)
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert "too many wrong tokens" in answer.json()["error"]
            assert json.loads(catchment("sql", "SELECT 1 AS a", "--format", "json", data_dir=guarded.data_dir)) == [
                {"a": 1}
            ]
        finally:
            guarded.process.terminate()  # for the others, without what it remembers
            assert guarded.stop(check_books=False) == 0
            guarded.start()


class TestBrowsers:
    @pytest.mark.parametrize(
        "headers",
        [
            {"cookie": f"token={TOKEN}; session={TOKEN}; authorization=Bearer {TOKEN}"},
            {"x-api-key": TOKEN, "x-authorization": TOKEN, "token": TOKEN},
            {"proxy-authorization": f"Bearer {TOKEN}"},
        ],
    )
    def test_what_a_browser_adds_by_itself_opens_nothing(self, guarded: Server, headers: dict[str, str]) -> None:
        url = f"{guarded.console}/api/status?token={TOKEN}&access_token={TOKEN}"
        assert guarded.http.get(url, headers=headers).status_code == 401

    def test_no_page_of_another_origin_may_read_or_send(self, guarded: Server) -> None:
        origin = {"origin": "https://evil.example"}
        asked = origin | {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        for answer in (
            guarded.http.options(guarded.console + "/api/sql", headers=asked),
            guarded.http.get(guarded.console + "/openapi.json", headers=origin),
            guarded.api.get("/api/status", headers=origin),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost:1", "LOCALHOST.", "[::1]:8081", "10.1.2.3:8081", "watcher.EXAMPLE:80"]
    )
    def test_a_call_that_names_this_server_is_answered(self, guarded: Server, host: str) -> None:
        answer = guarded.http.get(guarded.console + "/api/status", headers=RIGHT | {"host": host})
        assert answer.status_code == 200

    @pytest.mark.parametrize("path", ["/api/status", "/health/live", "/openapi.json", "/metrics", "/nowhere"])
    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8081", "", "x@127.0.0.1", "2130706433"],
    )
    def test_a_page_whose_name_was_pointed_here_learns_nothing(self, guarded: Server, host: str, path: str) -> None:
        answer = guarded.http.get(guarded.console + path, headers=RIGHT | {"host": host})
        assert answer.status_code == 421
        assert "`console.hosts`" in answer.json()["error"]

    def test_two_names_are_as_good_as_a_wrong_one(self) -> None:
        hosts = Hosts(["a.example"])
        assert hosts.allows([b"a.example"])
        assert not hosts.allows([b"a.example", b"a.example"])
        assert hosts.allows([])


class TestHeaders:
    @pytest.mark.parametrize(
        ("method", "path", "headers", "status"),
        [
            ("GET", "/health/live", {}, 200),
            ("GET", "/health/ready", {}, 200),
            ("HEAD", "/health/live", {}, 200),
            ("GET", "/openapi.json", {}, 200),
            ("GET", "/api/status", RIGHT, 200),
            ("GET", "/api/tail", RIGHT, 200),
            ("GET", "/metrics", RIGHT, 200),
            ("POST", "/api/sql", RIGHT, 400),
            ("GET", "/api/status", {}, 401),
            ("GET", "/", {}, 404),
            ("GET", "/api/nothing", RIGHT, 404),
            ("DELETE", "/health/live", {}, 405),
            ("OPTIONS", "/api/sql", {}, 405),
            ("TRACE", "/api/sql", {}, 405),
            ("GET", "/health/live", {"host": "evil.example"}, 421),
        ],
    )
    def test_every_answer_has_them(
        self, guarded: Server, method: str, path: str, headers: dict[str, str], status: int
    ) -> None:
        answer = guarded.http.request(method, guarded.console + path, headers=headers)
        assert answer.status_code == status
        for name, value in STRICT_HEADERS.items():
            assert answer.headers.get_list(name) == [value]
        assert HSTS[0] not in answer.headers  # without TLS, a browser must not look for it
        assert "server" not in answer.headers

    @pytest.mark.parametrize("request_line", [b"GET  / HTTP/1.1", b"\x16\x03\x01\x02\x00\x01", b"GET /\x00 HTTP/1.1"])
    def test_so_has_the_answer_to_what_is_no_http(self, guarded: Server, request_line: bytes) -> None:
        head, _, body = raw(guarded.console, request_line + b"\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body)["error"]
        for name, value in STRICT_HEADERS.items():
            assert f"\r\n{name}: {value}".encode() in head.replace(b"\r\n", b"\r\n")

    async def test_so_has_the_answer_to_a_defect(self, tmp_path: Path) -> None:
        write_apps(tmp_path, ["default"])
        settings = config.load(tmp_path)
        never = partial(pytest.fail, "it is never started")
        app = core_app(access_of(tmp_path), settings, tmp_path, open_core=never, openapi={}, take_snapshot=never)
        transport = httpx.ASGITransport(Shield(app, Hosts([]), tls=True), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            answer = await http.get("/api/status", headers=RIGHT)
        assert (answer.status_code, answer.json()) == (500, {"error": "internal error; the server's log has it"})
        for name, value in (*STRICT_HEADERS.items(), HSTS):
            assert answer.headers.get_list(name) == [value]


def test_another_user_of_the_machine_cannot_read_the_data_dir(guarded: Server) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    child = os.fork()
    if not child:
        os.setuid(65534)
        os._exit(int(os.access(guarded.data_dir / "run.json", os.R_OK)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
