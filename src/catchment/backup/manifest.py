"""The form of a backup: which files it has, what they must be, and what the store said when they were copied.

    manifest.json          made by which version, when, with which schema; rows of each table, what was counted
    SHA256SUMS             of every other file, as `sha256sum -c` reads it
    catchment.toml, ...    the files of the data dir itself
    store/TABLE/PART/...   the store's parts
    log/position.json, log/edge-0/...   the log from there on: what was not in the store yet

Both lists are written last, so a folder without them is no backup. A file that is not in the list, or is missing, is a
fault like one that was changed.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from catchment.errors import Cannot

FORMAT = 1
MANIFEST_NAME = "manifest.json"
SUMS_NAME = "SHA256SUMS"
STORE_FOLDER, LOG_FOLDER = "store", "log"
PIECE_BYTES = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")

Advance = Callable[[int], None]  # is told of bytes that were dealt with


class BackupError(Cannot):
    """Why a backup cannot be made, read or restored, and what to do."""


class Table(msgspec.Struct, frozen=True):
    """What a table of the store had: parts, and rows before copies are collapsed."""

    parts: int
    rows: int


class Counts(msgspec.Struct, frozen=True):
    """What the store answered: rows by view, and the sums of the ledger (`received`, `stored`, `duplicate`, `rejected`,
    `difference`). What took too long to count is not in it."""

    views: dict[str, int]
    books: dict[str, int]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """`made_at` is ISO 8601 in UTC; `schema` the digest of each migration that the store had; `files` and `bytes` count
    all files but the manifest and the sums."""

    format: int
    version: str
    engine: str
    made_at: str
    schema: dict[str, str]
    tables: dict[str, Table]
    log_bytes: int
    counts: Counts | None
    files: int
    bytes: int


def read(backup: Path) -> Manifest:
    """Raises `BackupError` where this is no backup, or one of a later form."""
    try:
        data = (backup / MANIFEST_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(
            f"{backup} is not a backup: it has no {MANIFEST_NAME}; `catchment backup` makes one"
        ) from None
    try:
        form = msgspec.json.decode(data, type=_Form).format
        if form > FORMAT:
            raise BackupError(
                f"{backup} was made by a later version of Catchment (its form is {form}, this version knows {FORMAT});"
                " install that version, then restore"
            )
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BackupError(f"{backup / MANIFEST_NAME} is damaged: {error}; take another backup") from None


class _Form(msgspec.Struct):
    format: int


def sums(backup: Path) -> dict[str, str]:
    """SHA-256 by file. Raises `BackupError`."""
    found = {}
    try:
        for line in (backup / SUMS_NAME).read_text("utf-8").splitlines():
            match = _LINE.fullmatch(line)
            if match is None:
                raise BackupError(f"{backup / SUMS_NAME} is damaged; take another backup")
            found[match[2]] = match[1]
    except FileNotFoundError:
        raise BackupError(f"{backup} is not a whole backup: it has no {SUMS_NAME}; take another one") from None
    except UnicodeDecodeError:
        raise BackupError(f"{backup / SUMS_NAME} is damaged; take another backup") from None
    return found


def faults(backup: Path, manifest: Manifest, advance: Advance = lambda _: None) -> Iterator[str]:
    """A sentence for each file that is not what was written. Reads every byte."""
    expected, found = sums(backup), set(paths(backup))
    if len(expected) != manifest.files + 1:  # the manifest is among them
        yield f"{SUMS_NAME} lists {len(expected)} files, and there were {manifest.files + 1}"
    for path in sorted(found - expected.keys() - {SUMS_NAME}):
        yield f"{path} does not belong to it"
    for path, digest in sorted(expected.items()):
        if path not in found:
            yield f"{path} is missing"
            continue
        try:
            if digest_of(backup / path, advance) != digest:
                yield f"{path} was changed"
        except OSError as error:
            yield f"{path} cannot be read: {error.strerror}"


def paths(folder: Path) -> Iterator[str]:
    """Every file in the folder, as its path from there."""
    for where, _, names in os.walk(folder):
        for name in names:
            yield (Path(where) / name).relative_to(folder).as_posix()


def digest_of(file: Path, advance: Advance) -> str:
    """SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            digest.update(piece)
            advance(len(piece))
    return digest.hexdigest()
