"""The programs that vendors' clients run in, those that stand before a server, and those that the pages call: found on
this machine, or got where that can be done.

Debian's packages are installed by root only, and Node's modules are those of `node/package-lock.json`. Where something
cannot be had its tests are skipped, and the reason says why. With `CATCHMENT_TEST_ALL` set that is a failure instead.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE_DIR = Path(__file__).parent / "node"
MODULES = NODE_DIR / "node_modules"
NODE_MAJOR_MIN = 18
INSTALL_S_MAX = 600
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
CHROMIUM_PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def node() -> str:
    """Node's path."""
    found = shutil.which("node") or _from_debian("node", "nodejs")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
        lacking(f"Node {version} is older than {NODE_MAJOR_MIN}")
    return found


def node_modules() -> Path:
    """The folder of Node's modules, with what the lock file names in it."""
    npm = shutil.which("npm") or _from_debian("npm", "npm")
    wanted = hashlib.sha256((NODE_DIR / "package-lock.json").read_bytes()).hexdigest()
    done = MODULES / ".catchment-lock"
    with _one_at_a_time("npm"):
        if not done.exists() or done.read_text() != wanted:
            _install([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NODE_DIR)
            done.write_text(wanted)
    return MODULES


def chromium() -> str:
    """Chromium's path."""
    for name in (*CHROMIUM_NAMES, *CHROMIUM_PLACES):
        if found := shutil.which(name):
            return found
    return _from_debian("chromium", "chromium")


def nginx() -> str:
    """nginx's path."""
    return shutil.which("nginx") or _from_debian("nginx", "nginx-light")


def caddy() -> str:
    """Caddy's path."""
    return shutil.which("caddy") or _from_debian("caddy", "caddy")


def curl() -> str:
    """curl's path."""
    return shutil.which("curl") or _from_debian("curl", "curl")


def systemd_analyze() -> str:
    """The path of what systemd looks at units with."""
    return shutil.which("systemd-analyze") or _from_debian("systemd-analyze", "systemd")


def question_about(example: str) -> str:
    """The query that the table of examples gives for one of them."""
    [row] = [line for line in (EXAMPLES / "README.md").read_text().splitlines() if f"]({example})" in line]
    return row.split("`")[-2]


def lacking(reason: str) -> NoReturn:
    """Skips the test; where every test has to run, fails it."""
    if os.environ.get("CATCHMENT_TEST_ALL"):
        pytest.fail(reason)
    pytest.skip(reason)


def _from_debian(program: str, package: str) -> str:
    if not Path("/etc/debian_version").exists() or os.geteuid() != 0 or not shutil.which("apt-get"):
        lacking(f"{program} is not installed, and only root can install it, on Debian: apt-get install {package}")
    with _one_at_a_time("apt"):
        if not shutil.which(program):
            _install(["apt-get", "update", "-q"])
            _install(["apt-get", "install", "-q", "-y", "--no-install-recommends", package])
    return shutil.which(program) or lacking(f"{program} is not in Debian's package {package}")


def _install(command: list[str], *, cwd: Path | None = None) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        lacking(f"`{' '.join(command)}` took longer than {INSTALL_S_MAX} s")
    if done.returncode != 0:
        lacking(f"`{' '.join(command)}` failed: {(done.stderr + done.stdout).strip()[-500:]}")


@contextmanager
def _one_at_a_time(what: str) -> Iterator[None]:
    """Sessions that run side by side wait for each other."""
    place = Path(tempfile.gettempdir()) / f"catchment-tests-{what}-{os.getuid()}.lock"
    with place.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
