"""The target of `catchment.toml`: any text is settings, or a list of mistakes that tells no secret."""

import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catchment import config
from tests.fuzz.target import Target, require

SECRETS = config.SECRETS
SECRET_CHARS_MIN = 12  # a shorter one may stand in a message by chance
_FOLDER = tempfile.TemporaryDirectory(prefix="catchment-fuzz-")


def loaded(data: bytes) -> None:
    """Only `ConfigError`, and in it no text that stands where a secret belongs."""
    folder = Path(_FOLDER.name)
    (folder / config.FILE_NAME).write_bytes(data)
    try:
        config.load(folder)
    except config.ConfigError as error:
        require(bool(error.problems), "there is a mistake")
        for problem in error.problems:
            require(problem.isprintable(), "a mistake is one line")
        told, others = str(error), list(_texts(_tree(data), secret=False))
        for text in _texts(_tree(data), secret=True):
            if len(text) >= SECRET_CHARS_MIN and not any(text in other for other in (*others, str(folder))):
                require(text not in told, "no secret is told")


def _tree(data: bytes) -> Any:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return {}


def _texts(tree: Any, *, secret: bool) -> Iterator[str]:
    """The texts of a file that stand where secrets belong, or all the others, names among them."""
    pending = [(tree, False)]
    while pending:
        value, within = pending.pop()
        if isinstance(value, dict):
            pending += [(inner, within or name in SECRETS) for name, inner in value.items()]
            yield from () if secret else value
        elif isinstance(value, list):
            pending += [(inner, within) for inner in value]
        elif within == secret:
            yield str(value)


_FIRST = """[console]
token_hash = "0000000000000000000000000000000000000000000000000000000000000000"
[privacy]
hash_key = "a-key-of-the-fuzzer"
[apps.default.moesif]
application_ids = ["a-moesif-id-of-the-fuzzer"]
[apps.default.batch]
rest_api_keys = ["a-rest-key-of-the-fuzzer"]
live = ["LIVEFUZZER"]
[apps.default.moloco.platforms]
SHOP = ["a-moloco-key-of-the-fuzzer"]
"""
_CHANGES = (
    "[ingest]\nport = 99999",
    '[ingest]\nprot = 1\ntrusted_proxies = ["10.0.0.0/8", "x"]',
    "[limits]\njson_values_max = 1e3\nbatch_events_max = -1",
    "[apps.default.moesif.rate_limit]\nrequests_per_second = 5\nburst_requests = 10",
    '[[apps.default.moloco.expiring_keys]]\nplatform = "SHOP"\nkey = "k"\nexpires_at = 2027-01-31T00:00:00Z',
    '[apps.other.moesif]\napplication_ids = ["an id that has spaces"]',
    '[apps.other.batch]\nrest_api_keys = ["x y"]\nlive = ["LIVEFUZZER"]',
    "[log]\nkeep_loaded_hours = inf\nsegment_bytes_max = nan",
    '[tls]\ncertificate = 1979-05-27\n[logging]\nformat = "json"',
    "x = [1, {a.b = '''\n'''}, 0xFF, 1_000, 07:32:00]",
)
_ODD = (b"=", b"\xff", b"", b"x = " + b"[" * 1100, b"x = " + b"1" * 5000, b"x" + b".x" * 1100 + b" = 1")
_SEEDS = [_FIRST.encode(), *(f"{_FIRST}{change}\n".encode() for change in _CHANGES), *_ODD]
TARGETS = [Target("settings", loaded, _SEEDS, bytes_max=8192)]
