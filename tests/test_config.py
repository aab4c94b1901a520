"""`catchment.toml` and the environment: the first file, what wins, and how mistakes are told."""

import copy
import errno
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import trustme

from catchment import config
from catchment.cli.commands import run
from catchment.config import ConfigError, ensure_file, first_file, load
from catchment.tokens import new_token, token_hash
from tests.conftest import catchment

SECRET = "topsecret-0123456789-0123456789-abc"
TOKEN = "console-token-0123456789-0123456789"
NEW_YEAR = "2027-01-01T00:00:00Z"
SOUND: dict[str, Any] = {
    "console": {"token": TOKEN},
    "privacy": {"hash_key": "hash-key"},
    "apps": {
        "shop": {
            "moesif": {"application_ids": ["shop-1", "shop-2"]},
            "batch": {"rest_api_keys": ["rest-1", "rest-2"], "live": ["live-1"], "dev": [], "sdk": ["sdk-1"]},
            "moloco": {"platforms": {"SHOP_WEB": ["web-1", "web-2"], "SHOP_APP": ["app-1"]}},
        },
        "billing": {"moesif": {"application_ids": ["billing-1"]}},
    },
}


def tree(**values: Any) -> dict[str, Any]:
    """The sound tree with some values laid over: `tree(ingest__port=1)`; None takes one away."""
    made = copy.deepcopy(SOUND)
    for path, value in values.items():
        *outer, last = path.split("__")
        place = made
        for part in outer:
            place = place.setdefault(part, {})
        if value is None:
            del place[last]
        else:
            place[last] = value
    return made


def write(folder: Path, content: dict[str, Any] | str | bytes) -> Path:
    file = folder / config.FILE_NAME
    if isinstance(content, dict):
        content = tomlkit.dumps(content)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def problems(
    folder: Path, content: dict[str, Any] | str, overrides: Any = None, *, with_files: bool = False
) -> list[str]:
    write(folder, content)
    with pytest.raises(ConfigError) as caught:
        load(folder, overrides, with_files=with_files)
    assert SECRET not in str(caught.value)
    return caught.value.problems


def texts(value: Any) -> Iterator[str]:
    """All texts of a tree that are values."""
    if isinstance(value, dict):
        value = list(value.values())
    for inner in value:
        yield from [inner] if isinstance(inner, str) else texts(inner)


class TestFirstFile:
    def test_is_for_its_owner_only_and_sound(self, tmp_path: Path) -> None:
        data_dir = tmp_path / "deep" / "data"
        first = ensure_file(data_dir)
        assert first
        assert stat.S_IMODE((data_dir / config.FILE_NAME).stat().st_mode) == 0o600
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert [path.name for path in data_dir.iterdir()] == [config.FILE_NAME]
        settings = load(data_dir)
        assert list(settings.apps) == ["default"]
        assert settings.console.token is None
        assert settings.console.kept_hash == token_hash(first.token or "")
        assert len(first.token or "") == len("console-") + 43  # 256 bits

    def test_is_not_written_over(self, tmp_path: Path) -> None:
        file = write(tmp_path, "a = 1")
        assert not ensure_file(tmp_path)
        assert file.read_text() == "a = 1"

    def test_has_other_secrets_each_time(self) -> None:
        first, second = (set(texts(tomllib.loads(first_file(token_hash(new_token()))))) for _ in range(2))
        assert len(first) == 8
        assert first.isdisjoint(second)

    def test_has_keys_that_a_shell_and_a_header_take_as_they_are(self) -> None:
        for text in texts(tomllib.loads(first_file())):
            assert text.replace("-", "").replace("_", "").isalnum()
            assert not text.startswith("-") or len(text) == 43  # the hash key, which is never typed

    def test_has_a_moesif_id_that_the_vendors_clients_accept(self) -> None:
        [application_id] = tomllib.loads(first_file())["apps"]["default"]["moesif"]["application_ids"]
        assert len(application_id) >= 50


class TestMistakes:
    @pytest.mark.parametrize(
        ("values", "problem"),
        [
            ({"ingest__port": 99999}, "ingest.port: found 99999; it must be 65535 or less"),
            ({"ingest__port": -1}, "ingest.port: found -1; it must be 0 or more"),
            ({"ingest__port": "http"}, "ingest.port: found 'http'; it must be a whole number"),
            ({"ingest__port": 80.5}, "ingest.port: found 80.5; it must be a whole number"),
            ({"ingest__port": [1]}, "ingest.port: found a list of 1; it must be a whole number"),
            ({"ingest__host": 127}, "ingest.host: found 127; it must be a text"),
            ({"ingest": 5}, "ingest: found a number; it must be a table"),
            ({"sql__seconds_max": 0}, "sql.seconds_max: found 0; it must be more than 0"),
            ({"sql__seconds_max": "long"}, "sql.seconds_max: found 'long'; it must be a number"),
            ({"privacy__credentials": "none"}, "privacy.credentials: found 'none'; it must be 'hash' or 'plain'"),
            (
                {"console__token": None},
                "console: token_hash is missing; `catchment token` makes a token and writes its hash",
            ),
            ({"console": None}, "console: missing; `catchment token` makes a token and writes its hash"),
            (
                {"console__token_hash": "0" * 64},
                "console: token and token_hash are both given; keep one of them, in the file or the environment",
            ),
            (
                {"console": {"token_hash": "0" * 63}},
                "console.token_hash: found a text of 63 characters; it must be 64 hexadecimal digits, as"
                " `catchment token` writes them",
            ),
            (
                {"console__token": "x" * 31},
                "console.token: found a text of 31 characters; it must have 32 or more characters",
            ),
            (
                {"console__hosts": ["http://x"]},
                "console.hosts.0: found 'http://x'; it must be a name, like catchment.example.com",
            ),
            ({"apps": {}}, "apps: found an empty table; it must have at least 1 entry"),
            (
                {"apps__billing__moesif__application_ids": []},
                "apps.billing.moesif.application_ids: found a list of 0; it must have at least 1 entry",
            ),
            (
                {"apps__billing__moesif__time_window": "rejekt"},
                "apps.billing.moesif.time_window: found 'rejekt'; it must be 'flag' or 'reject'",
            ),
            (
                {"apps__my shop": {"moesif": {"application_ids": ["a"]}}},
                "apps.my shop: found 'my shop'; it must be 1 to 64 letters, digits, _ or -",
            ),
            (
                {"ingest__trusted_proxies": ["10.0.0.0/8", "proxy"]},
                "ingest.trusted_proxies.1: found 'proxy'; it must be an IP address or a network, like 10.0.0.0/8",
            ),
            (
                {"ingest__trusted_proxies": "10.0.0.0/8"},
                'ingest.trusted_proxies: found \'10.0.0.0/8\'; it must be a list, like ["a", "b"]',
            ),
            ({"ingest__hots": "::"}, "ingest.hots: there is no such setting; did you mean host?"),
            ({"limts__x": 1}, "limts: there is no such setting; did you mean limits?"),
            ({"zzzzzz": 1}, "zzzzzz: there is no such setting"),
            (
                {"ingest__tls_cert": "cert.pem"},
                "ingest: tls_cert and tls_key go together: give both or none",
            ),
        ],
    )
    def test_a_mistake_is_told_with_its_key_what_was_found_and_what_is_allowed(
        self, tmp_path: Path, values: dict[str, Any], problem: str
    ) -> None:
        assert problems(tmp_path, tree(**values)) == [problem]

    def test_all_of_them_are_told_at_once(self, tmp_path: Path) -> None:
        wrong = tree(
            ingest__port=99999,
            ingest__tls_key="key.pem",
            ingest__trusted_proxies=["proxy"],
            console__tokn="x",
            sql__rows_max=0,
            privacy__hash_key=None,
            apps__shop__batch__live=["", "with space"],
            apps__other__moesif__application_ids=["billing-1"],
        )
        assert sorted(line.partition(":")[0] for line in problems(tmp_path, wrong)) == [
            "apps.other.moesif holds a key that apps.billing.moesif has too; a key must lead to one application",
            "apps.shop.batch.live.0",
            "apps.shop.batch.live.1",
            "console.tokn",
            "ingest",
            "ingest.port",
            "ingest.trusted_proxies.0",
            "privacy.hash_key",
            "sql.rows_max",
        ]

    @pytest.mark.parametrize(
        "values",
        [
            {"console": SECRET},
            {"console__token": SECRET + " "},
            {"console__token": [SECRET]},
            {"console__token": {"value": SECRET}},
            {"console__tokn": SECRET},
            {"privacy__hash_key": SECRET + "\n"},
            {"apps": [SECRET]},
            {"apps__shop": SECRET},
            {"apps__shop__moesif": SECRET},
            {"apps__shop__moesif__application_ids": SECRET},
            {"apps__shop__moesif__application_ids": [SECRET + " "]},
            {"apps__shop__moesif__application_id": [SECRET]},
            {"apps__shop__batch__live": {"key": SECRET}},
            {"apps__shop__batch__lives": SECRET},
            {"apps__shop__moloco__platforms": {"P": SECRET}},
            {"apps__shop__moloco__platforms": {"P": [[SECRET]]}},
            {"apps__shop__moloco__expiring_keys": SECRET},
            {"apps__shop__moloco__expiring_keys": [SECRET]},
            {"apps__shop__moloco__expiring_keys": [{"platform": "SHOP_WEB", "key": [SECRET], "expires_at": NEW_YEAR}]},
            {"apps__shop__moloco__expiring_keys": [{"platform": "SHOP", "key": SECRET, "expires_at": NEW_YEAR}]},
            {"apps__shop__moloco__expiring_keys": [{"platform": "SHOP_WEB", "key": SECRET, "expires_at": "soon"}]},
            {"apps__shop__mixpanel": {"token": SECRET}},
            {"secrets": {"token": SECRET}},
        ],
    )
    def test_a_secret_is_never_shown(self, tmp_path: Path, values: dict[str, Any]) -> None:
        assert len(problems(tmp_path, tree(**values))) == 1  # which looks for the secret

    @pytest.mark.parametrize("wrong", ["soon", "2027-01-01", "2027-01-01T00:00:00", True])
    def test_the_end_of_a_key_is_a_time_with_its_offset(self, tmp_path: Path, wrong: Any) -> None:
        keys = [{"platform": "SHOP_WEB", "key": "k", "expires_at": wrong}]
        [problem] = problems(tmp_path, tree(apps__shop__moloco__expiring_keys=keys))
        assert problem.startswith("apps.shop.moloco.expiring_keys.0.expires_at: found ")
        assert problem.endswith("; it must be a time with its offset, like 2027-01-31T00:00:00Z")

    def test_a_number_in_a_secrets_place_is_not_shown_either(self, tmp_path: Path) -> None:
        assert problems(tmp_path, tree(console__token=31415926)) == ["console.token: found a number; it must be a text"]

    @pytest.mark.parametrize(
        ("path", "key"),
        [
            ("apps__other__moesif__application_ids", ["x", "shop-2"]),
            ("apps__other__batch", {"rest_api_keys": ["r"], "dev": ["live-1"]}),
            ("apps__other__moloco__platforms", {"SHOP_APP": ["x"]}),
        ],
    )
    def test_a_key_leads_to_one_application(self, tmp_path: Path, path: str, key: Any) -> None:
        vendor = path.split("__")[2]
        assert problems(tmp_path, tree(**{path: key})) == [
            f"apps.other.{vendor} holds a key that apps.shop.{vendor} has too; a key must lead to one application"
        ]

    def test_several_applications_with_several_keys_each_are_sound(self, tmp_path: Path) -> None:
        write(tmp_path, SOUND)
        settings = load(tmp_path)
        shop, billing = settings.apps["shop"], settings.apps["billing"]
        assert shop.moesif
        assert shop.moesif.application_ids == ["shop-1", "shop-2"]
        assert shop.moloco
        assert shop.moloco.platforms["SHOP_WEB"] == ["web-1", "web-2"]
        assert billing.batch is None


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("one", "two"):
        made = trustme.CA().issue_cert("127.0.0.1")
        made.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        made.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder


class TestCertificate:
    def test_one_with_its_key_is_sound(self, tmp_path: Path, files: Path) -> None:
        write(tmp_path, tree(ingest__tls_cert=str(files / "one.pem"), ingest__tls_key=str(files / "one.key")))
        assert load(tmp_path, with_files=True).ingest.tls_cert == str(files / "one.pem")

    def test_one_with_the_key_of_another_is_a_mistake(self, tmp_path: Path, files: Path) -> None:
        wrong = tree(ingest__tls_cert=str(files / "one.pem"), ingest__tls_key=str(files / "two.key"))
        [problem] = problems(tmp_path, wrong, with_files=True)
        assert problem.startswith("ingest.tls_cert: found ")
        assert "it must be a certificate in PEM whose key is tls_key" in problem

    def test_missing_files_are_told_with_all_other_mistakes(self, tmp_path: Path) -> None:
        wrong = tree(ingest__tls_cert="no.pem", ingest__tls_key="no.key", ingest__port=-1)
        assert problems(tmp_path, wrong, with_files=True) == [
            "ingest.port: found -1; it must be 0 or more",
            "ingest.tls_cert: found 'no.pem'; it cannot be read: No such file or directory",
            "ingest.tls_key: found 'no.key'; it cannot be read: No such file or directory",
        ]

    def test_commands_that_do_not_serve_do_not_look_at_the_files(self, tmp_path: Path) -> None:
        write(tmp_path, tree(ingest__tls_cert="no.pem", ingest__tls_key="no.key"))
        assert load(tmp_path).ingest.tls_cert == "no.pem"


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def file(self, tmp_path: Path) -> Path:
        return write(tmp_path, tree(ingest__port=1000, ingest__workers=1))

    def test_wins_over_the_file_and_the_command_line_over_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert (load(tmp_path).ingest.port, load(tmp_path).ingest.workers) == (1000, 1)
        monkeypatch.setenv("CATCHMENT_INGEST__PORT", "2000")
        monkeypatch.setenv("CATCHMENT_INGEST__WORKERS", "2")
        assert (load(tmp_path).ingest.port, load(tmp_path).ingest.workers) == (2000, 2)
        given = load(tmp_path, {"ingest": {"port": 3000, "workers": None}})
        assert (given.ingest.port, given.ingest.workers) == (3000, 2)

    def test_gives_values_at_any_depth(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CATCHMENT_SQL__SECONDS_MAX", "0.5")
        monkeypatch.setenv("CATCHMENT_INGEST__TRUSTED_PROXIES", '["10.0.0.0/8", "::1"]')
        monkeypatch.setenv("CATCHMENT_APPS__SHOP__MOESIF__TIME_WINDOW", "reject")
        monkeypatch.setenv("CATCHMENT_APPS__SHOP__MOESIF__APPLICATION_IDS", '["new"]')
        monkeypatch.setenv("CATCHMENT_APPS__OTHER__MOESIF__APPLICATION_IDS", '["other"]')
        settings = load(tmp_path)
        assert settings.sql.seconds_max == 0.5
        assert settings.ingest.trusted_proxies == ["10.0.0.0/8", "::1"]
        assert settings.apps["shop"].moesif
        assert settings.apps["shop"].moesif.time_window == "reject"
        assert settings.apps["shop"].moesif.application_ids == ["new"]
        assert settings.apps["shop"].batch
        assert list(settings.apps) == ["shop", "billing", "other"]

    def test_finds_a_name_of_the_file_whatever_its_case(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CATCHMENT_APPS__SHOP__MOLOCO__PLATFORMS__SHOP_WEB", '["new"]')
        moloco = load(tmp_path).apps["shop"].moloco
        assert moloco
        assert moloco.platforms == {"SHOP_WEB": ["new"], "SHOP_APP": ["app-1"]}

    def test_gives_a_whole_table_as_json_and_single_values_of_it_win(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CATCHMENT_INGEST__PORT", "5000")
        monkeypatch.setenv("CATCHMENT_INGEST", '{"port": 4000, "host": "::1"}')
        monkeypatch.setenv("CATCHMENT_APPS", '{"Partner": {"moloco": {"platforms": {"Web": ["key"]}}}}')
        settings = load(tmp_path)
        assert (settings.ingest.port, settings.ingest.host, settings.ingest.workers) == (5000, "::1", 1)
        assert settings.apps["Partner"].moloco
        assert settings.apps["Partner"].moloco.platforms == {"Web": ["key"]}

    @pytest.mark.parametrize(
        "token", [text * 32 for text in ("1", "1e5", "null", "true", '"quoted"', "[a", "{a}", "a=b")]
    )
    def test_takes_a_text_as_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
        monkeypatch.setenv("CATCHMENT_CONSOLE__TOKEN", token)
        assert load(tmp_path).console.token == token

    @pytest.mark.parametrize(
        ("name", "value", "problem"),
        [
            ("INGEST__PORT", "abc", "ingest.port: found 'abc' from {}; it must be a whole number"),
            ("INGEST__PORT", "", "ingest.port: found '' from {}; it must be a whole number"),
            ("INGEST__PORT__X", "1", "ingest.port: found a table of 1 from {}; it must be a whole number"),
            ("INGEST", '{"port": 1', "ingest: found a text of 10 characters from {}; it must be a table"),
            ("INGST__PORT", "1", "ingst: there is no such setting from {}; did you mean ingest?"),
            ("INGEST__PROT", "1", "ingest.prot: there is no such setting from {}; did you mean port?"),
            (
                "INGEST__TRUSTED_PROXIES",
                "10.0.0.1",
                'ingest.trusted_proxies: found \'10.0.0.1\' from {}; it must be a list, like ["a", "b"]',
            ),
            (
                "APPS__SHOP__MOESIF__APPLICATION_IDS",
                SECRET,
                "apps.shop.moesif.application_ids: found a text of 35 characters from {}; "
                'it must be a list, like ["a", "b"]',
            ),
        ],
    )
    def test_is_named_where_its_value_is_wrong(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
    ) -> None:
        variable = f"CATCHMENT_{name}"
        monkeypatch.setenv(variable, value)
        assert problems(tmp_path, tree()) == [problem.format(variable)]

    def test_is_not_named_for_a_mistake_in_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CATCHMENT_INGEST__WORKERS", "2")
        assert problems(tmp_path, tree(ingest__port=-1)) == ["ingest.port: found -1; it must be 0 or more"]

    def test_may_hold_variables_that_are_not_about_settings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CATCHMENT_PORT", "tcp://10.0.0.1:80")  # as Kubernetes does for a service of that name
        monkeypatch.setenv("CATCHMENT_DATA_DIR", "/elsewhere")
        assert load(tmp_path).ingest.port == 1000

    def test_a_mistake_on_the_command_line_is_told_as_such(self, tmp_path: Path) -> None:
        assert problems(tmp_path, tree(), {"ingest": {"port": 99999}}) == [
            "ingest.port: found 99999 from the command line; it must be 65535 or less"
        ]


class TestCommandLine:
    """Every mistake is a sentence and exit code 2."""

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"a = \n", "not valid TOML: Invalid value (at line 1, column 5)"),
            (b"a = 1\na = 2\n", "not valid TOML: Cannot overwrite a value"),
            (b'a = "\xff"\n', "not valid TOML: byte 5 is not UTF-8"),
            (b"", "3 mistakes"),
        ],
    )
    def test_a_file_that_is_no_configuration(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, sentence: str
    ) -> None:
        file = write(tmp_path, content)
        assert run(["config", "check", "--data-dir", str(tmp_path)]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith(f"{file}: ")
        assert sentence in told.err

    def test_a_file_that_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for command in (["config", "check"], ["keys"], ["status"], ["tail"], ["sql", "SELECT 1"]):
            assert run([*command, "--data-dir", str(tmp_path / "none")]) == 2
            told = capsys.readouterr().err
            assert told.startswith(f"{tmp_path / 'none'}: 1 mistake\n  - there is no catchment.toml here, for ")
            assert "name it with --data-dir or CATCHMENT_DATA_DIR" in told
            assert f"`catchment serve --data-dir {tmp_path / 'none'}` writes one" in told
        assert not (tmp_path / "none").exists()

    def test_a_file_that_cannot_be_read(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / config.FILE_NAME).mkdir()  # root may read a file whatever its mode
        assert run(["keys", "--data-dir", str(tmp_path)]) == 2
        assert "cannot be read: Is a directory" in capsys.readouterr().err

    def test_a_relative_folder_is_told_with_its_whole_path(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for command in (["status"], ["log", "verify"]):
            assert run(command) == 2
            told = capsys.readouterr().err
            assert str(tmp_path / "data") in told
            assert "CATCHMENT_DATA_DIR" in told

    def test_the_folder_of_something_else_gets_no_settings(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        assert run(["serve", "--data-dir", str(tmp_path)]) == 2
        told = capsys.readouterr().err
        assert "there is no catchment.toml here, but there is notes.txt: it is the folder of something else." in told
        assert "Nothing in it was changed." in told
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    @pytest.mark.parametrize("name", ["lost+found", ".hidden", "log"])
    def test_a_folder_with_what_a_file_system_put_there_or_with_data_of_ours_gets_its_settings(
        self, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / name).mkdir()
        assert config.ensure_file(tmp_path)
        assert (tmp_path / config.FILE_NAME).is_file()

    def test_a_data_dir_that_cannot_be_made(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").write_text("")
        for folder in (tmp_path / "file", tmp_path / "file" / "below"):
            assert run(["serve", "--data-dir", str(folder)]) == 2
            assert "cannot be written" in capsys.readouterr().err

    def test_serve_tells_them_all_before_it_starts_anything(self, tmp_path: Path) -> None:
        write(tmp_path, tree(sql__rows_max=0))
        told = catchment("serve", "--port", "-1", "--tls-cert", "no.pem", data_dir=tmp_path, code=2)
        assert told.splitlines() == [
            f"{tmp_path / config.FILE_NAME}: 3 mistakes",
            "  - ingest.port: found -1 from the command line; it must be 0 or more",
            "  - sql.rows_max: found 0; it must be 1 or more",
            "  - ingest: tls_cert and tls_key go together: give both or none",
        ]
        assert [path.name for path in tmp_path.iterdir()] == [config.FILE_NAME]


class TestSoundVersion:
    def sound(self, folder: Path) -> Path:
        config.ensure_file(folder)
        config.keep_sound(folder)
        return folder / config.FILE_NAME

    def test_it_is_used_where_the_file_has_mistakes(self, tmp_path: Path) -> None:
        file = self.sound(tmp_path)
        settings = config.load(tmp_path)
        file.write_text(file.read_text() + "\nx = [")
        assert config.in_use(tmp_path) == settings

    def test_a_file_with_mistakes_does_not_become_it(self, tmp_path: Path) -> None:
        file = self.sound(tmp_path)
        settings = config.load(tmp_path)
        file.write_text("x = [")
        config.keep_sound(tmp_path)
        assert config.in_use(tmp_path) == settings
        assert {path.name for path in tmp_path.iterdir()} == {config.FILE_NAME, config.SOUND_NAME}

    def test_without_one_the_mistakes_are_told(self, tmp_path: Path) -> None:
        (tmp_path / config.FILE_NAME).write_text("x = [")
        with pytest.raises(ConfigError, match="not valid TOML"):
            config.in_use(tmp_path)

    def test_it_is_for_its_owner_only(self, tmp_path: Path) -> None:
        self.sound(tmp_path)
        assert (tmp_path / config.SOUND_NAME).stat().st_mode & 0o777 == 0o600

    def test_a_disk_that_does_not_take_it_costs_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        config.ensure_file(tmp_path)
        monkeypatch.setattr("catchment.config.first.tempfile.mkstemp", full)
        config.keep_sound(tmp_path)
        assert "cannot be kept: No space left on device" in caplog.text
        assert config.in_use(tmp_path) == config.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = " + "[" * 2000, "too deep"),
        ("x" + ".x" * 2000 + " = 1", "too deep"),
        ("[log]\nx = " + "{x=" * 2000, "too deep"),
        ("x = " + "1" * 5000, "a number has too many digits"),
    ],
    ids=["lists", "dotted names", "inline tables", "digits"],
)
def test_what_no_file_of_settings_has_is_a_mistake_and_no_defect(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError, match=told):
        load(tmp_path)
