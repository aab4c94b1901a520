"""Reads `catchment.toml` and the environment into `Settings`, and writes the first file.

A value comes from the command line, else from the environment (`CATCHMENT_INGEST__PORT=9000`, tables joined by two
underscores, lists and tables as JSON), else from the file, else from its default. All mistakes are reported at once:
the key, what was found, what is allowed; but never what may be a secret.
"""

import contextlib
import copy
import difflib
import ipaddress
import json
import logging
import os
import secrets
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import maxminddb
import tomlkit
from pydantic import ValidationError

from catchment import certificate
from catchment.settings import (
    CONDITION_PATH,
    HEADER_NAME,
    HEADER_VALUE,
    HOST_NAME,
    SAMPLED_PATH,
    SHA256_HEX,
    VARIABLE_NAME,
    Section,
    Settings,
)
from catchment.tokens import new_token, token_hash

FILE_NAME = "catchment.toml"
SOUND_NAME = "catchment.toml.sound"  # what the server took last
RESTORING_NAME = "restore.partial"  # the folder in which `catchment restore` builds; while it is there, nothing starts
_OURS = frozenset({"log", "store", "serve.lock", "core.lock", SOUND_NAME})  # what tells a data dir without settings
ENV_PREFIX = "CATCHMENT_"
ENV_DELIMITER = "__"
SECRETS = frozenset(
    """token token_hash hash_key application_ids rest_api_keys live dev sdk platforms expiring_keys""".split()
)
SHOWN_CHARS_MAX = 80
_ROUNDS_MAX = 4
_NAMES = sorted({name for section in Section.__subclasses__() for name in section.model_fields})

# What is allowed, by the type of Pydantic's error; braces are filled from the error.
_ALLOWED = {
    "missing": "it must be given",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be {ge} or more",
    "less_than_equal": "it must be {le} or less",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "string_type": "it must be a text",
    "string_too_short": "it must have {min_length} or more characters",
    "string_too_long": "it must have {max_length} characters or less",
    "list_type": 'it must be a list, like ["a", "b"]',
    "too_short": "it must have at least {min_length} entry",
    "dict_type": "it must be a table",
    "model_type": "it must be a table",
    "literal_error": "it must be {expected}",
    "timezone_aware": "it must be a time with its offset, like 2027-01-31T00:00:00Z",
    "datetime_type": "it must be a time with its offset, like 2027-01-31T00:00:00Z",
    "datetime_parsing": "it must be a time with its offset, like 2027-01-31T00:00:00Z",
    "datetime_from_date_parsing": "it must be a time with its offset, like 2027-01-31T00:00:00Z",
    "invalid-json-value": "it must be a text, a number, true, false, a list or a table",
}
_ALLOWED_BY_PATTERN = {
    r"^\S+$": "it must be without spaces",
    r"^[A-Za-z0-9_-]{1,64}$": "it must be 1 to 64 letters, digits, _ or -",
    HEADER_NAME: "it must be the name of a header",
    HEADER_VALUE: "it must be plain ASCII without line breaks",
    CONDITION_PATH: "it must be a place in a call, like request.verb, request.body.x or response.status",
    SAMPLED_PATH: "it must be request.verb, request.route, request.ip_address or response.status",
    VARIABLE_NAME: "it must be without braces and |",
    HOST_NAME: "it must be a name, like catchment.example.com",
    SHA256_HEX: "it must be 64 hexadecimal digits, as `catchment token` writes them",
    r"^[!-~]+$": "it must be plain ASCII without spaces",
}

_TOKEN_PATHS = frozenset({("console", "token"), ("console", "token_hash")})

Location = tuple[str | int, ...]
logger = logging.getLogger(__name__)


class ConfigError(Exception):
    """The configuration is wrong; `problems` has a line for each mistake."""

    def __init__(self, origin: str, problems: list[str]) -> None:
        self.problems = problems
        many = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        self.summary = f"{origin}: {many}"
        super().__init__(self.summary + "\n" + "\n".join(f"  - {problem}" for problem in problems))


class First(NamedTuple):
    """A first file was written. `token` is the console's, of which the file has the hash; None where the environment
    gives one."""

    token: str | None


class _Given(NamedTuple):
    """A value from elsewhere than the file, and where it comes from."""

    path: tuple[str, ...]
    value: object
    origin: str


def load(
    data_dir: Path,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
    *,
    with_files: bool = False,
    name: str = FILE_NAME,
) -> Settings:
    """The settings of `data_dir`; `overrides` (from the command line, None where not given) win over everything.

    `with_files` also looks whether the files that they name can be used. Raises `ConfigError` where the file is
    missing, is not TOML, or holds mistakes.
    """
    path = data_dir / name
    try:
        return _loaded(path, overrides or {}, with_files=with_files)
    except RecursionError:
        raise ConfigError(str(path), ["tables or lists stand too deep in each other; no setting does"]) from None


def _loaded(path: Path, overrides: Mapping[str, Mapping[str, object]], *, with_files: bool) -> Settings:
    tree = _read(path)
    origins: dict[Location, str] = {}
    for given in (*_environment(os.environ), *_leaves((), overrides, "the command line")):
        _lay(tree, given, origins)
    problems = _problems(tree, origins) + _unusable(tree, with_files=with_files)
    problems += _unusable_database(tree) if with_files else []
    if problems:
        raise ConfigError(str(path), problems)
    return Settings.model_validate(tree)


def in_use(data_dir: Path) -> Settings:
    """The settings to go on with: `load`, or where the file has mistakes, its last sound version. A typo in the file of
    a running server must neither keep a part from being started again, nor anybody from asking the server.

    Raises `ConfigError` where there is no sound version.
    """
    try:
        return load(data_dir)
    except ConfigError as error:
        try:
            settings = load(data_dir, name=SOUND_NAME)
        except ConfigError:
            raise error from None
        logger.warning("%s; its last sound version is used: `catchment config check` names each", error.summary)
        return settings


def keep_sound(data_dir: Path) -> None:
    """Keeps a copy of the file as it is now, if it is sound, for `in_use`. A disk that does not take it costs the copy,
    and nothing else."""
    try:
        handle, name = tempfile.mkstemp(dir=data_dir, prefix=SOUND_NAME)  # created with mode 0600
        copy = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write((data_dir / FILE_NAME).read_bytes())
            load(data_dir, name=copy.name)
            copy.replace(data_dir / SOUND_NAME)
        finally:
            copy.unlink(missing_ok=True)
    except ConfigError:
        return
    except OSError as error:
        logger.warning("%s cannot be kept: %s", data_dir / SOUND_NAME, error.strerror)


def ensure_file(data_dir: Path) -> First | None:
    """Writes the first `catchment.toml`, readable by the owner only, where there is none. Raises `ConfigError`."""
    path = data_dir / FILE_NAME
    _refuse_unfinished(data_dir)
    token = None if token_variable() else new_token()
    try:
        if path.exists():
            return None
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_foreign(data_dir)
        handle, name = tempfile.mkstemp(dir=data_dir, prefix=FILE_NAME)  # created with mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(first_file(token_hash(token) if token else None))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        hint = f"{FILE_NAME} cannot be written: {error.strerror}; choose another --data-dir"
        raise ConfigError(str(data_dir), [hint]) from None
    return First(token)


def token_variable() -> str | None:
    """The variable of the environment that gives the console's token or its hash, if one does."""
    return next((given.origin for given in _environment(os.environ) if given.path in _TOKEN_PATHS), None)


def first_file(console_token_hash: str | None = None) -> str:
    """A configuration with one application and fresh secrets. Without a hash, its token is to be given elsewhere."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Catchment. Every setting, with its default: docs/configuration.md"))
    document.add(tomlkit.comment("Whoever reads this file can send events: keep it to yourself."))
    if console_token_hash:
        document["console"] = {"token_hash": console_token_hash}
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
            "moloco": {"platforms": {"CATCHMENT_DEFAULT": ["moloco-" + secrets.token_urlsafe(32)]}},
        }
    }
    return tomlkit.dumps(document)


def _refuse_foreign(data_dir: Path) -> None:
    """Nothing is put among somebody else's files: a folder without settings is empty, or has something of ours. What a
    file system or a desktop puts into each folder is nobody's."""
    found = sorted(name for name in os.listdir(data_dir) if not name.startswith(".") and name != "lost+found")
    if found and not _OURS.intersection(found):
        some = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        hint = (
            f"there is no {FILE_NAME} here, but there is {some}: it is the folder of something else. Nothing in it was"
            " changed. Name an empty or a new folder with --data-dir or CATCHMENT_DATA_DIR, or first put settings of"
            " your own here"
        )
        raise ConfigError(str(data_dir.absolute()), [hint])


def _refuse_unfinished(data_dir: Path) -> None:
    if (data_dir / RESTORING_NAME).exists():
        hint = (
            "a restore into it was cut off, or is still under way; wait for it, or where none runs, remove all that is"
            " in it, and run `catchment restore` again"
        )
        raise ConfigError(str(data_dir), [hint])


def _read(path: Path) -> dict[str, Any]:
    _refuse_unfinished(path.parent)
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        folder = path.parent.absolute()
        where = "here" if folder.is_dir() else "here, for there is no such folder"
        hint = (
            f"there is no {FILE_NAME} {where}. If your server has another data dir, name it with --data-dir or"
            f" CATCHMENT_DATA_DIR. Only if there is to be a new server here: `catchment serve --data-dir {folder}`"
            " writes one"
        )
        raise ConfigError(str(folder), [hint]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"not valid TOML: byte {error.start} is not UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"not valid TOML: {error}"]) from None
    except ValueError:  # Python's own bound on digits
        raise ConfigError(str(path), ["not valid TOML: a number has too many digits"]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None


def _environment(variables: Mapping[str, str]) -> list[_Given]:
    """What the environment gives; a whole table (`CATCHMENT_INGEST`) yields to one value of it."""
    found: list[_Given] = []
    for name, text in sorted(variables.items(), key=lambda item: item[0].count(ENV_DELIMITER)):
        path = tuple(name.removeprefix(ENV_PREFIX).lower().split(ENV_DELIMITER))
        if name.startswith(ENV_PREFIX) and (len(path) > 1 or path[0] in Settings.model_fields):
            found += _leaves(path, _parsed(text), name)
    return found


def _parsed(text: str) -> object:
    """Lists and tables are JSON; what is not JSON after all stays text, for its mistake to be named."""
    if text.lstrip().startswith(("[", "{")):
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(text)
    return text


def _leaves(path: tuple[str, ...], value: object, origin: str) -> Iterator[_Given]:
    """The single values of a tree; None there means that nothing was given."""
    if isinstance(value, Mapping) and (value or not path):
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner, origin)
    elif value is not None:
        yield _Given(path, value, origin)


def _lay(tree: dict[str, Any], given: _Given, origins: dict[Location, str]) -> None:
    """Puts a value in its place and notes its origin; names are spelled as in the file, if they stand there."""
    place = tree
    location: tuple[str, ...] = ()
    for part in given.path[:-1]:
        name = _spelled(part, place)
        location = (*location, name)
        if not isinstance(place.get(name), dict):
            if location in origins:
                return  # a variable gives something else where this one wants a table: that mistake is named
            place[name] = {}
        place = place[name]
    last = _spelled(given.path[-1], place)
    place[last] = given.value
    origins[(*location, last)] = given.origin


def _spelled(part: str, place: dict[str, Any]) -> str:
    return part if part in place else next((name for name in place if name.lower() == part.lower()), part)


def _problems(tree: dict[str, Any], origins: Mapping[Location, str]) -> list[str]:
    """A line for each mistake. A rule about several settings is looked at only once each of them is sound; so what is
    wrong is taken out, and the rest is looked at again."""
    problems: list[str] = []
    for _ in range(_ROUNDS_MAX):
        try:
            Settings.model_validate(tree)
        except ValidationError as error:
            details = error.errors()
            problems += [_problem(detail, origins) for detail in details]
            tree = _without(tree, [detail["loc"] for detail in details])
        else:
            break
    return list(dict.fromkeys(problems))


def _without(tree: dict[str, Any], locations: list[Location]) -> dict[str, Any]:
    """The tree without the wrong settings; where one must be given, and for a wrong vendor's table, that of a first
    file stands in."""
    rest = copy.deepcopy(tree)
    for location in locations:
        *outer, last = location[:3] if location[:1] == ("apps",) else location[:2] or ("",)
        place: Any = rest
        for part in outer:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(str(last), None)
    whole = tomllib.loads(first_file(token_hash("")))
    if any((name, part) in _TOKEN_PATHS for name, table in rest.items() if isinstance(table, dict) for part in table):
        del whole["console"]  # there is one, and there must not be two
    sound = [given for given in _leaves((), rest, "") if given.value != {}]
    if any(given.path[0] == "apps" for given in sound):
        del whole["apps"]
    for given in sound:
        _lay(whole, given, {})
    return whole


def _problem(detail: Any, origins: Mapping[Location, str]) -> str:
    """`ingest.port: found 99999 from CATCHMENT_INGEST__PORT; it must be 65535 or less`"""
    location: Location = detail["loc"]
    kind, found = detail["type"], detail.get("input")
    key = ".".join(str(part) for part in location if part != "[key]")
    where = _where(location, origins)
    if kind == "value_error":
        message = detail["msg"].removeprefix("Value error, ")
        return f"{key}: {message}" if key else message
    if kind == "extra_forbidden":
        close = [
            match
            for names in (_names_beside(location), _NAMES)
            for match in difflib.get_close_matches(str(location[-1]), names, 1)
        ]
        return f"{key}: there is no such setting{where}" + (f"; did you mean {close[0]}?" if close else "")
    if kind == "missing":
        hint = "`catchment token` makes a token and writes its hash" if key == "console" else _ALLOWED[kind]
        return f"{key}: missing; {hint}"
    shown = _kind(found) if kind in ("model_type", "dict_type") or _is_secret(location) else _shown(found)
    return f"{key}: found {shown}{where}; {_allowed(kind, detail)}"


def _names_beside(location: Location) -> list[str]:
    """The settings of the section that the location is in."""
    section = Settings.model_fields[str(location[0])].annotation if location[0] in Settings.model_fields else None
    return sorted(section.model_fields) if isinstance(section, type) and issubclass(section, Section) else []


def _allowed(kind: str, detail: Any) -> str:
    bounds = detail.get("ctx", {})
    known = _ALLOWED_BY_PATTERN.get(bounds.get("pattern")) or _ALLOWED.get(kind)
    if kind == "string_too_short" and bounds["min_length"] == 1:
        known = "it must not be empty"
    shown = {name: f"{bound:.12g}" if isinstance(bound, float) else bound for name, bound in bounds.items()}
    return known.format(**shown) if known else detail["msg"].lower()


def _where(location: Location, origins: Mapping[Location, str]) -> str:
    """` from CATCHMENT_INGEST__PORT`, where the value, or something in it, does not come from the file."""
    for place, origin in origins.items():
        common = min(len(place), len(location))
        if place[:common] == location[:common]:
            return f" from {origin}"
    return ""


def _is_secret(location: Location) -> bool:
    """Whether a value may be a secret; the name of an application or a platform is none."""
    names = location[2:] if location[:1] == ("apps",) else location
    return location[-1:] != ("[key]",) and not SECRETS.isdisjoint(names)


def _shown(found: object) -> str:
    if isinstance(found, (dict, list)):
        return _kind(found)
    text = repr(found) if isinstance(found, str) else json.dumps(found, default=str)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 3] + "..."


def _kind(found: object) -> str:
    """What kind of thing was found, for one that should not be shown."""
    if isinstance(found, str):
        return f"a text of {len(found)} character{'' if len(found) == 1 else 's'}"
    if isinstance(found, list):
        return f"a list of {len(found)}"
    if isinstance(found, dict):
        return f"a table of {len(found)}" if found else "an empty table"
    return "a number" if isinstance(found, (int, float)) else "something else"


def _unusable(tree: dict[str, Any], *, with_files: bool) -> list[str]:
    """What is well formed but names nothing that can be used."""
    ingest = tree.get("ingest")
    if not isinstance(ingest, dict):
        return []
    proxies = ingest.get("trusted_proxies")
    problems = [
        f"ingest.trusted_proxies.{index}: found {_shown(text)}; it must be an IP address or a network, like 10.0.0.0/8"
        for index, text in enumerate(proxies if isinstance(proxies, list) else ())
        if isinstance(text, str) and not _is_network(text)
    ]
    cert, key = ingest.get("tls_cert"), ingest.get("tls_key")
    if with_files and cert and key and isinstance(cert, str) and isinstance(key, str):
        problems += _unusable_certificate(cert, key)
    return problems


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _unusable_certificate(cert: str, key: str) -> list[str]:
    given = {"tls_cert": cert, "tls_key": key}
    return [
        f"ingest.{fault.setting}: found {_shown(given[fault.setting])}; {fault.reason}"
        for fault in certificate.faults(Path(cert), Path(key))
    ]


def _unusable_database(tree: dict[str, Any]) -> list[str]:
    geo = tree.get("geo")
    file = geo.get("database") if isinstance(geo, dict) else None
    if not isinstance(file, str):
        return []
    try:
        maxminddb.open_database(file).close()
    except OSError as error:
        return [f"geo.database: found {_shown(file)}; it cannot be read: {error.strerror}"]
    except (maxminddb.InvalidDatabaseError, ValueError):
        return [f"geo.database: found {_shown(file)}; it must be a database in MaxMind's format, .mmdb"]
    return []
