"""What is built from a checkout runs by itself: every file that the program reads is in the wheel."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import until

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "catchment"
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")


def alone() -> dict[str, str]:
    """An environment in which the checkout is not found."""
    return {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=alone(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    run(sys.executable, *PIP, *build, cwd=folder)
    [made] = folder.glob("catchment-*.whl")
    return made


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {str(path.relative_to(PACKAGE.parent)) for path in files} == {
        name for name in packed if name.startswith("catchment/")
    }
    assert {"catchment/py.typed", "catchment/store/migrations/0001_log.sql"} <= packed
    assert any(name.endswith("licenses/LICENSE") for name in packed)


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh virtual environment that has the wheel, and finds only the other packages in this one."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    [packages] = folder.glob("lib/python*/site-packages")
    run(sys.executable, *PIP, "install", "--no-deps", "--target", packages, wheel, cwd=folder.parent)
    others = sysconfig.get_path("purelib")
    (packages / "others.pth").write_text(others)  # behind the wheel, so that it is the wheel that is used
    return folder / "bin" / "python"


def test_what_is_installed_serves_and_describes_itself(program: Path, tmp_path: Path) -> None:
    where = run(program, "-c", "import catchment; print(catchment.__file__)", cwd=tmp_path)
    assert str(program.parents[1]) in where
    version = run(program, "-m", "catchment", "--version", cwd=tmp_path).strip()
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
    serve = [str(program), "-m", "catchment", "serve", "--port", "0", "--console-port", "0", "--data-dir", "data"]
    process = subprocess.Popen(serve, cwd=tmp_path, env=alone(), stdout=subprocess.DEVNULL)
    try:
        file = tmp_path / "data" / "run.json"
        until(lambda: file.exists() or process.poll() is not None, within_s=120)
        address = json.loads(file.read_text())["console"] + "/openapi.json"
        asked = f"import httpx; print(httpx.get('{address}', trust_env=False, timeout=60).json()['info']['version'])"
        assert run(program, "-c", asked, cwd=tmp_path).strip()
        count = ("sql", "SELECT count() AS n FROM events", "--format", "csv", "--data-dir", "data")
        assert run(program, "-m", "catchment", *count, cwd=tmp_path).split() == ["n", "0"]
    finally:
        process.terminate()
        assert process.wait(150) == 0
