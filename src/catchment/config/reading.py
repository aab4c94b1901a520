"""The settings of a data dir: the file, with the environment and the command line laid over it, checked as a whole."""

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from catchment.config.file import FILE_NAME, SOUND_NAME, ConfigError, read
from catchment.config.given import Location, environment, lay, leaves
from catchment.config.mistakes import mistakes
from catchment.config.usable import unusable
from catchment.settings import Settings

logger = logging.getLogger(__name__)


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
    tree = read(path)
    origins: dict[Location, str] = {}
    for given in (*environment(os.environ), *leaves((), overrides, "the command line")):
        lay(tree, given, origins)
    problems = mistakes(tree, origins) + unusable(tree, with_files=with_files)
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
