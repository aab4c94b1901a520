"""The file with the settings: its names, how it is read, and what its folder must not be.

Whoever reads it gets a `ConfigError` that says what to do, not an `OSError`."""

import os
import tomllib
from pathlib import Path
from typing import Any

FILE_NAME = "catchment.toml"
SOUND_NAME = "catchment.toml.sound"  # what the server took last
RESTORING_NAME = "restore.partial"  # the folder in which `catchment restore` builds; while it is there, nothing starts
_OURS = frozenset({"log", "store", "serve.lock", "core.lock", SOUND_NAME})  # what tells a data dir without settings


class ConfigError(Exception):
    """The configuration is wrong; `problems` has a line for each mistake."""

    def __init__(self, origin: str, problems: list[str]) -> None:
        self.problems = problems
        many = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        self.summary = f"{origin}: {many}"
        super().__init__(self.summary + "\n" + "\n".join(f"  - {problem}" for problem in problems))


def read(path: Path) -> dict[str, Any]:
    refuse_unfinished(path.parent)
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


def refuse_foreign(data_dir: Path) -> None:
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


def refuse_unfinished(data_dir: Path) -> None:
    if (data_dir / RESTORING_NAME).exists():
        hint = (
            "a restore into it was cut off, or is still under way; wait for it, or where none runs, remove all that is"
            " in it, and run `catchment restore` again"
        )
        raise ConfigError(str(data_dir), [hint])
