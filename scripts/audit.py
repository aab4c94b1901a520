"""Looks whether a package that Catchment runs on has a known vulnerability, and fails only then.

`pip-audit` asks a service on the network about each pinned package of requirements/run.txt. Where no service can be
reached, or it knows none of the packages, as a mirror may not, that is said in a sentence, and nothing fails: a laptop
on a train can be checked too. `--osv-url` asks another server that speaks OSV's API.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

REQUIREMENTS = Path(__file__).parent.parent / "requirements" / "run.txt"
SECONDS_MAX = 90
_ASK_S = 5


class Found(NamedTuple):
    """What a service said: of how many packages it knew how many, and a line for each vulnerability."""

    packages: int
    known: int
    vulnerabilities: list[str]


def ask(requirements: Path, service: list[str]) -> Found | None:
    """What `pip-audit` finds with this service; None where it could not be asked."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "-r", str(requirements), "--require-hashes", "--disable-pip"]
        command += ["--progress-spinner", "off", "--timeout", str(_ASK_S), "--desc", "off", "--cache-dir", folder]
        command += ["-f", "json", "-o", str(report), *service]
        try:
            subprocess.run(command, capture_output=True, timeout=SECONDS_MAX, check=False)  # noqa: S603
            return read(json.loads(report.read_text("utf-8")))
        except (subprocess.TimeoutExpired, OSError, ValueError):
            return None


def read(report: dict[str, Any]) -> Found:
    """A report of `pip-audit` in JSON; a package with a `skip_reason` was not known."""
    packages = report["dependencies"]
    known = [package for package in packages if "skip_reason" not in package]
    lines = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, mended in: "
        + (", ".join(vulnerability["fix_versions"]) or "no version yet")
        for package in known
        for vulnerability in package["vulns"]
    ]
    return Found(len(packages), len(known), lines)


def main() -> int:
    """1 where something is known, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requirements", type=Path, default=REQUIREMENTS)
    parser.add_argument("--osv-url")
    given = parser.parse_args()
    own = [["-s", "osv", "--osv-url", given.osv_url]] if given.osv_url else None
    for service in own or [["-s", "pypi"], ["-s", "osv"]]:
        found = ask(given.requirements, service)
        if found and found.vulnerabilities:
            print("Known vulnerabilities:", *found.vulnerabilities, sep="\n  ")
            return 1
        if found and found.known:
            print(f"No known vulnerability in {found.known} of {found.packages} packages.")
            return 0
    print("Known vulnerabilities were not looked for: no service that knows the packages could be reached.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
