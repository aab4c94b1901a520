"""Brings the schema of a store up to date: migrations that it has not seen, the settings of its tables, its views.

Whatever is cut off is begun again at the next start. A store that a later version wrote is not touched.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from catchment import __version__
from catchment.store import queries, room, schema
from catchment.store.guard import DATABASE
from catchment.store.store import OtherVersion

_MADE_BY = "SELECT comment FROM system.tables WHERE database = 'catchment' AND name = 'migrations'"


class Migrator:
    """Of the store at `path`. `command` runs a statement with its values, and `text` gives what a query answers."""

    def __init__(
        self,
        path: Path,
        command: Callable[..., None],
        text: Callable[[str, Mapping[str, Any]], str],
    ) -> None:
        self._path = path
        self._command = command
        self._text = text

    def migrate(self) -> list[str]:
        """Applies `migrations/*.sql` that the store has not seen, in order of their names, then makes the views that
        are others now, which hold nothing. A migration that was cut off is begun again, so each statement must bear
        that: `CREATE` becomes `CREATE ... IF NOT EXISTS`. Raises `OtherVersion`, and `StoreError` on a disk without
        room for what must be written."""
        self._note_migrations()
        fresh = self._fresh_migrations()
        if fresh:
            room.require(self._path)
        self._apply(fresh)
        self._settle_tables()
        self._make_views(all_of_them=bool(fresh))
        return list(fresh)

    def migrate_to(self, known: Mapping[str, str]) -> None:
        """Applies these migrations only, and makes no views: for parts that were made under them (`attach`)."""
        self._note_migrations()
        self._apply({name: text for name, text in self._fresh_migrations().items() if name in known})

    def schema(self) -> dict[str, str]:
        """The digest of each migration that was applied; none in a new store."""
        self._note_migrations()
        listing = self._text("SELECT name, digest FROM catchment.migrations ORDER BY name", {})
        return dict(line.split("\t") for line in listing.splitlines())

    def is_current(self) -> bool:
        """Whether every migration was applied. Raises `OtherVersion`."""
        self._note_migrations()
        return not self._fresh_migrations()

    def _note_migrations(self) -> None:
        self._command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        self._command(
            f"CREATE TABLE IF NOT EXISTS {DATABASE}.migrations"
            " (name String, digest String, applied_at DateTime64(3, 'UTC'))"
            " ENGINE = MergeTree ORDER BY name SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
        )

    def _apply(self, migrations: Mapping[str, str]) -> None:
        """And notes, for a version that cannot read what comes of them, which one that was."""
        for name, text in migrations.items():
            for statement in schema.statements(text):
                self._command(statement)
            self._command(
                "INSERT INTO catchment.migrations VALUES ({name:String}, {digest:String}, now64(3))",
                {"name": name, "digest": schema.digest(text)},
            )
        if migrations:
            self._command(f"ALTER TABLE {DATABASE}.migrations MODIFY COMMENT '{__version__}'")

    def _make_views(self, *, all_of_them: bool) -> None:
        """Makes the first view that is not as its file says, and all that may read it; else nothing is written."""
        rows = self._text(queries.text("made_views"), {"database": DATABASE}).splitlines()
        made = dict(row.split("\t") for row in rows)
        anew = all_of_them
        for name, text in schema.views().items():
            digest = schema.digest(text)
            anew = anew or made.get(name) != digest
            if anew:
                room.require(self._path)
                self._command(f"CREATE OR REPLACE VIEW {DATABASE}.{name} AS {text} COMMENT '{digest}'")

    def _settle_tables(self) -> None:
        """Every table syncs its merges, and keeps for a while what they replaced."""
        wanted = ", ".join(f"{name} = {value}" for name, value in room.TABLE_SETTINGS.items())
        asked = {"database": DATABASE, "setting": f"old_parts_lifetime = {room.KEEP_REPLACED_S}"}
        for table in self._text(queries.text("unsettled_tables"), asked).splitlines():
            room.require(self._path)
            self._command(f"ALTER TABLE {DATABASE}.{table} MODIFY SETTING {wanted}")

    def _fresh_migrations(self) -> dict[str, str]:
        """Name and text of those that are still to be applied."""
        texts = schema.migrations()
        applied = self.schema()
        for name, digest in sorted(applied.items()):
            if name not in texts or digest != schema.digest(texts[name]):
                raise OtherVersion(schema.refusal(self._path, name, self._text(_MADE_BY, {}).strip()))
        return {name: texts[name] for name in sorted(texts.keys() - applied.keys())}
