"""The container: what its file copies is there, what it runs exists, and the server does as the first process of a
namespace what it does anywhere. Building the image takes a container engine and a registry, which the tests have not.
"""

import fnmatch
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from catchment.cli import commands
from catchment.settings import Settings
from catchment.settings.server import Sql
from catchment.supervisor import STOP_WITHIN_S
from tests.conftest import Server, catchment, give_token, until
from tests.processes import children

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "container"
HEALTH = FOLDER / "health.py"
DATA_DIR = "/var/lib/catchment"


def instructions() -> list[tuple[str, str]]:
    """Word and rest of each instruction of the Dockerfile."""
    text = (FOLDER / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines if line and line[0] != "#"]


def last(word: str) -> str:
    return [rest for known, rest in instructions() if known == word][-1]


def sources() -> list[str]:
    """What is copied from the checkout."""
    copied = [shlex.split(rest)[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    return [path for paths in copied for path in paths]


def test_what_the_image_is_made_of_is_there_and_reaches_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    let_in = [line[1:] for line in lines if line[0] == "!"]
    assert sources()
    for path in sources():
        assert (ROOT / path).exists(), path
        assert any(fnmatch.fnmatch(path, pattern) for pattern in let_in), f"{path} is kept out by .dockerignore"


def test_nothing_is_installed_but_what_is_pinned_with_its_hash() -> None:
    installs = [command for _, rest in instructions() for command in rest.split("&&") if "pip install" in command]
    assert len(installs) == 2
    assert "--require-hashes -r requirements/run.txt" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]


def test_it_does_not_run_as_root() -> None:
    user, _, group = last("USER").partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000
    after = [word for word, _ in instructions()][[word for word, _ in instructions()].index("USER") :]
    assert "RUN" not in after


def test_what_it_runs_is_a_command_and_gets_the_signal_itself() -> None:
    entry, arguments = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    assert entry == ["catchment"]
    commands.app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert last("STOPSIGNAL") == "SIGTERM"


def test_its_variables_are_settings_and_its_data_is_a_volume() -> None:
    variables = dict(word.split("=", 1) for word in shlex.split(last("ENV")))
    assert variables.pop("CATCHMENT_DATA_DIR") == DATA_DIR == last("VOLUME")
    del variables["PATH"]
    assert set(variables) == {"CATCHMENT_INGEST__HOST", "CATCHMENT_LOGGING__FORMAT"}  # not the console's host
    for name in variables:
        section, field = name.removeprefix("CATCHMENT_").lower().split("__")
        kind = Settings.model_fields[section].annotation
        assert kind is not None
        assert field in kind.model_fields


def test_compose_gives_it_time_to_stop_and_no_rights() -> None:
    [service] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"].values()
    assert (FOLDER / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).exists()
    assert float(service["stop_grace_period"].removesuffix("s")) > sum(STOP_WITHIN_S.values()) + Sql().seconds_max
    assert service["volumes"] == [f"data:{DATA_DIR}"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert not [port for port in service["ports"] if "8081" in port]


def health(data_dir: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"CATCHMENT_DATA_DIR": str(data_dir)} | variables
    return subprocess.run([sys.executable, HEALTH], env=environment, capture_output=True, text=True, timeout=60)


def test_the_health_check_knows_a_server_that_answers(server: Server) -> None:
    port = server.ingest.rpartition(":")[2]
    told: list[tuple[int, str]] = []

    def answered() -> bool:  # by a machine that is busy not at once, within the 5 s that the check has
        done = health(server.data_dir, CATCHMENT_INGEST__HOST="0.0.0.0", CATCHMENT_INGEST__PORT=port)
        told.append((done.returncode, done.stderr))
        return done.returncode == 0

    until(answered, within_s=60, otherwise=lambda: str(told))
    assert told[-1] == (0, "")


def test_the_health_check_says_what_is_wrong(tmp_path: Path) -> None:
    give_token(tmp_path)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and nobody listens there, or could meanwhile
        done = health(tmp_path, CATCHMENT_INGEST__PORT=str(silent.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr.startswith("the edge does not answer: ")


def namespace() -> list[str]:
    """The command that makes what follows it the first process of a namespace of its own, as an engine does."""
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a namespace of processes")
    return command


def test_as_the_first_process_it_serves_and_ends_in_order(tmp_path: Path) -> None:
    give_token(tmp_path)
    serve = [
        sys.executable,
        "-m",
        "catchment",
        "serve",
        "--port",
        "0",
        "--console-port",
        "0",
        "--data-dir",
        str(tmp_path),
    ]
    outer = subprocess.Popen([*namespace(), *serve], stdout=subprocess.DEVNULL)
    try:
        until(lambda: (tmp_path / "run.json").exists() or outer.poll() is not None, within_s=120)
        run = json.loads((tmp_path / "run.json").read_text())
        assert run["pid"] == 1
        [app] = json.loads(catchment("keys", "--format", "json", data_dir=tmp_path))
        headers = {"X-Moesif-Application-Id": app["moesif"]["application_id"]}
        body = {"action_name": "Contained", "user_id": "u", "request": {}}
        url = run["ingest"] + "/v1/actions"
        assert httpx.post(url, json=body, headers=headers, trust_env=False, timeout=60).status_code == 201
        [inner] = children(outer.pid)
        os.kill(inner, signal.SIGTERM)
        assert outer.wait(150) == 0
    finally:
        if outer.poll() is None:
            outer.kill()
            outer.wait()
    told = catchment("sql", "SELECT name FROM events", "--format", "csv", data_dir=tmp_path)
    assert "Contained" in told
