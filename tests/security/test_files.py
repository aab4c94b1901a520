"""The data dir is its owner's: nobody else on the machine reads or writes anything in it."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import trustme

from catchment import config
from tests.conftest import AppOf, Server, catchment, write_apps

ACTION = {"action_name": "A", "user_id": "u", "request": {"uri": "https://x/y"}}


@pytest.fixture
def careless() -> Iterator[None]:
    """Whoever starts it lets everybody read and write what is made."""
    before = os.umask(0)
    yield
    os.umask(before)


def there(folder: Path) -> Iterator[Path]:
    """All that is in the folder, which a server goes on writing: what has gone when it is its turn is left out."""
    yield folder
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place, name)


def open_to_others(folder: Path) -> list[str]:
    modes: dict[Path, int] = {}
    for path in there(folder):
        with suppress(FileNotFoundError):
            modes[path] = path.lstat().st_mode
    return [f"{path} {stat.filemode(mode)}" for path, mode in modes.items() if not stat.S_ISLNK(mode) and mode & 0o077]


def test_whatever_is_written_is_for_its_owner_alone(careless: None, tmp_path: Path) -> None:
    made = trustme.CA().issue_cert("127.0.0.1", "localhost")
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    made.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    write_apps(data_dir, ["default"])
    document: Any = tomlkit.parse((data_dir / config.FILE_NAME).read_text())
    document["apps"]["default"]["moesif"]["rate_limit"] = {"requests_per_second": 100}
    (data_dir / config.FILE_NAME).write_text(tomlkit.dumps(document))
    tls = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    server = Server(data_dir, "--workers", "2", *tls)
    app = AppOf(server, "default")
    assert app.moesif("/v1/actions", ACTION, **{"Idempotency-Key": "k"}).status_code == 201
    assert app.moesif("/v1/actions", b"{").status_code == 400
    app.events(1)
    catchment("token", data_dir=data_dir)
    catchment("maintenance", "on", data_dir=data_dir)
    names = {path.name for path in data_dir.iterdir()}
    files = {"catchment.toml", "catchment.toml.sound", "run.json", "tls.pem", "answers.sqlite", "maintenance.json"}
    assert files | {"log", "store", "rates", "serve.lock", "core.lock", "reload.lock"} <= names
    assert open_to_others(data_dir) == []
    assert server.stop(check_books=False) == 0
    assert open_to_others(data_dir) == []


def test_the_first_start_makes_a_folder_that_nobody_else_enters(careless: None, tmp_path: Path) -> None:
    assert config.ensure_file(tmp_path / "fresh")
    assert open_to_others(tmp_path / "fresh") == []


def test_the_copy_of_the_key_goes_with_https(tmp_path: Path) -> None:
    (tmp_path / "tls.pem").write_text("of an earlier run")
    server = Server(tmp_path, "--workers", "1")
    assert not (tmp_path / "tls.pem").exists()
    assert server.stop(check_books=False) == 0
