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
import ssl
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import maxminddb
import tomlkit
from pydantic import ValidationError

from catchment.settings import CONDITION_PATH, HEADER_NAME, HEADER_VALUE, SAMPLED_PATH, VARIABLE_NAME, Section, Settings

FILE_NAME = "catchment.toml"
SOUND_NAME = "catchment.toml.sound"  # what the server took last
RESTORING_NAME = "restore.partial"  # the folder in which `catchment restore` builds; while it is there, nothing starts
ENV_PREFIX = "CATCHMENT_"
ENV_DELIMITER = "__"
SECRETS = frozenset(
    {"token", "hash_key", "application_ids", "rest_api_keys", "live", "dev", "sdk", "platforms", "expiring_keys"}
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
    "string_too_short": "it must not be empty",
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
}

Location = tuple[str | int, ...]
logger = logging.getLogger(__name__)


class ConfigError(Exception):
    """The configuration is wrong; `problems` has a line for each mistake."""

    def __init__(self, origin: str, problems: list[str]) -> None:
        self.problems = problems
        many = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        self.summary = f"{origin}: {many}"
        super().__init__(self.summary + "\n" + "\n".join(f"  - {problem}" for problem in problems))


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
    tree = _read(path)
    origins: dict[Location, str] = {}
    for given in (*_environment(os.environ), *_leaves((), overrides or {}, "the command line")):
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


def ensure_file(data_dir: Path) -> bool:
    """Writes the first `catchment.toml`, readable by the owner only; True if it wrote one. Raises `ConfigError`."""
    path = data_dir / FILE_NAME
    _refuse_unfinished(data_dir)
    try:
        if path.exists():
            return False
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=data_dir, prefix=FILE_NAME)  # created with mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(first_file())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        hint = f"{FILE_NAME} cannot be written: {error.strerror}; choose another --data-dir"
        raise ConfigError(str(data_dir), [hint]) from None
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
            "moloco": {"platforms": {"CATCHMENT_DEFAULT": ["moloco-" + secrets.token_urlsafe(32)]}},
        }
    }
    return tomlkit.dumps(document)


def _refuse_unfinished(data_dir: Path) -> None:
    if (data_dir / RESTORING_NAME).exists():
        hint = "a restore into it was cut off; remove all that is in it, and run `catchment restore` again"
        raise ConfigError(str(data_dir), [hint])


def _read(path: Path) -> dict[str, Any]:
    _refuse_unfinished(path.parent)
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        folder = path.parent
        hint = f"there is no {FILE_NAME}; `catchment serve --data-dir {folder}` writes one at its first start"
        raise ConfigError(str(folder), [hint]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"not valid TOML: byte {error.start} is not UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"not valid TOML: {error}"]) from None
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
    whole = tomllib.loads(first_file())
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
        close = difflib.get_close_matches(str(location[-1]), _NAMES, 1)
        return f"{key}: there is no such setting{where}" + (f"; did you mean {close[0]}?" if close else "")
    if kind == "missing":
        return f"{key}: missing; {_ALLOWED[kind]}"
    shown = _kind(found) if kind in ("model_type", "dict_type") or _is_secret(location) else _shown(found)
    return f"{key}: found {shown}{where}; {_allowed(kind, detail)}"


def _allowed(kind: str, detail: Any) -> str:
    bounds = detail.get("ctx", {})
    known = _ALLOWED_BY_PATTERN.get(bounds.get("pattern")) or _ALLOWED.get(kind)
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
    problems = []
    for name, file in (("tls_cert", cert), ("tls_key", key)):
        try:
            Path(file).read_bytes()
        except OSError as error:
            problems.append(f"ingest.{name}: found {_shown(file)}; it cannot be read: {error.strerror}")
    if not problems:
        try:
            # An empty password, so that a key that wants one is refused instead of asked for.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
        except ssl.SSLError as error:
            reason = (error.reason or "not PEM").replace("_", " ").lower()
            allowed = "it must be a certificate in PEM whose key is tls_key, without a password"
            problems.append(f"ingest.tls_cert: found {_shown(cert)}; {allowed}: {reason}")
    return problems


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
