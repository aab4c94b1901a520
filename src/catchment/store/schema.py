"""What the store consists of: migrations, each applied once and in order, and views, which hold nothing and are made
anew when their text changes."""

import hashlib
import re
from importlib import resources
from pathlib import Path

from catchment import __version__

MIGRATIONS = resources.files("catchment.store") / "migrations"
VIEW_FILES = resources.files("catchment.store") / "views"
VIEWS = (  # each after those that it reads
    "alias_owners",
    "owned_leaves",
    "leaf_paths",
    "live_leaves",
    "profile_facts",
    "profiles",
    "events",
    "users",
    "visitors",
    "companies",
    "subscriptions",
    "rejections",
    "ledger",
)
VIEWS_TO_ASK = VIEWS[VIEWS.index("events") :]  # docs/sql.md has their columns; the others are what these are made of


def known_schema() -> dict[str, str]:
    """The digest of each migration that this version has."""
    return {name: digest(text) for name, text in sorted(migrations().items())}


def migrations() -> dict[str, str]:
    """The text of each migration, by its name."""
    return {file.name: file.read_text("utf-8") for file in MIGRATIONS.iterdir() if file.name.endswith(".sql")}


def statements(text: str) -> list[str]:
    """The statements of a migration file; each ends with a semicolon at the end of a line."""
    found = []
    for part in re.split(r";[ \t]*(?:\n|$)", text):
        if statement := _without_comments(part):
            found.append(re.sub(r"^CREATE (TABLE|VIEW|MATERIALIZED VIEW) ", r"CREATE \1 IF NOT EXISTS ", statement))
    return found


def views() -> dict[str, str]:
    """The text of each view, without comments; each view behind those that it reads."""
    return {name: _without_comments((VIEW_FILES / f"{name}.sql").read_text("utf-8")) for name in VIEWS}


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith("--")).strip()


def refusal(path: Path, name: str, made_by: str) -> str:
    """Why the store at `path` is not opened, which has the migration `name`, and what to do. `made_by` is the version
    that changed it last, `""` where it noted none."""
    own = sorted(migrations())[-1]
    if made_by in ("", __version__):
        made_by = f"another build of {__version__}" if made_by else "another version, which did not note which"
        wanted = "start the one that wrote it"
    else:
        wanted = f"install {made_by} or a later one"
    return (
        f"the store in {path.absolute()} was written by another Catchment ({made_by}; it has {name}). This is"
        f" {__version__}, which reads the stores of {__version__} and of the versions before it, up to {own}. Nothing"
        f" in the store was changed, and the log keeps what it holds: {wanted}, or start with another --data-dir"
    )


def digest(migration: str) -> str:
    """By which a store knows whether a text is the one that it was made with."""
    return hashlib.sha256("\n".join(statements(migration)).encode()).hexdigest()[:16]
