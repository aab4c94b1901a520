"""Reads `catchment.toml` and the environment into `Settings`, and writes the first file.

A value comes from the command line, else from the environment (`CATCHMENT_INGEST__PORT=9000`, tables joined by two
underscores, lists as JSON), else from the file, else from its default. All mistakes are reported at once: the key,
what was found, what is allowed.
"""

import os
import secrets
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from catchment.settings import Settings

FILE_NAME = "catchment.toml"
ENV_PREFIX = "CATCHMENT_"
SECRET_WORDS = ("token", "key", "ids", "live", "dev", "sdk", "platforms")


class ConfigError(Exception):
    """The configuration is wrong; `problems` has a line for each mistake."""

    def __init__(self, origin: str, problems: list[str]) -> None:
        self.problems = problems
        many = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__(f"{origin}: {many}\n" + "\n".join(f"  - {problem}" for problem in problems))


class _Environment(BaseSettings):
    """The same tree as `Settings`, read loosely: only to learn which variables are set."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="ignore")
    ingest: dict[str, Any] = {}
    console: dict[str, Any] = {}
    log: dict[str, Any] = {}
    loader: dict[str, Any] = {}
    sql: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    privacy: dict[str, Any] = {}
    apps: dict[str, Any] = {}


def load(data_dir: Path, overrides: dict[str, dict[str, Any]] | None = None) -> Settings:
    """The settings of `data_dir`; `overrides` (from the command line) win over everything.

    Raises `ConfigError` where the file is missing, is not TOML, or holds mistakes.
    """
    path = data_dir / FILE_NAME
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        hint = f"there is no {FILE_NAME}; `catchment serve --data-dir {data_dir}` writes one at its first start"
        raise ConfigError(str(data_dir), [hint]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"not valid TOML: {error}"]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    _merge(tree, EnvSettingsSource(_Environment)())
    _merge(tree, overrides or {})
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(str(path), [_problem(detail) for detail in error.errors()]) from None


def ensure_file(data_dir: Path) -> bool:
    """Writes the first `catchment.toml`, readable by the owner only; True if it wrote one."""
    path = data_dir / FILE_NAME
    if path.exists():
        return False
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=data_dir, prefix=FILE_NAME)  # created with mode 0600
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(first_file())
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
    return True


def first_file() -> str:
    """A configuration with one application and fresh secrets."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Catchment. Every setting, with its default: docs/configuration.md"))
    document.add(tomlkit.comment("Whoever reads this file can send events and read them: keep it to yourself."))
    document["console"] = {"token": "console-" + secrets.token_urlsafe(32)}
    document["privacy"] = {"hash_key": secrets.token_urlsafe(32)}
    document["apps"] = {
        "default": {
            "moesif": {"application_ids": ["moesif-" + secrets.token_urlsafe(48)]},
            "batch": {
                "rest_api_keys": [secrets.token_hex(16)],
                "live": ["LIVE" + secrets.token_hex(14).upper()],
                "dev": ["DEV" + secrets.token_hex(14).upper()],
                "sdk": ["SDK" + secrets.token_hex(14).upper()],
            },
            "moloco": {"platforms": {"CATCHMENT_DEFAULT": [secrets.token_urlsafe(32)]}},
        }
    }
    return tomlkit.dumps(document)


def _merge(tree: dict[str, Any], over: dict[str, Any]) -> None:
    """Lays `over` on `tree`; None there means that nothing was given."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(tree.setdefault(key, {}), dict):
            _merge(tree[key], value)
        elif value is not None:
            tree[key] = value


def _problem(detail: Any) -> str:
    """`ingest.port: found 99999; Input should be less than or equal to 65535`"""
    key = ".".join(str(part) for part in detail["loc"]) or "the whole file"
    found = detail.get("input")
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return f"{key}: missing; it must be given"
    if detail["type"] == "extra_forbidden":
        return f"{key}: found {_shown(key, found)}; there is no such setting"
    if detail["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: found {_shown(key, found)}; {message[0].lower()}{message[1:]}"


def _shown(key: str, found: object) -> str:
    """What was found, unless it may be a secret."""
    if any(word in part for part in key.split(".") for word in SECRET_WORDS) and isinstance(found, str):
        return f"a text of {len(found)} characters"
    text = repr(found)
    return text if len(text) <= 80 else text[:77] + "..."
