"""`catchment token`: another token for the console's port. The file gets its hash; the token is told here, once."""

import os
import sys
import tempfile
import tomllib
from collections.abc import MutableMapping
from pathlib import Path

import tomlkit
from rich.console import Console
from tomlkit.exceptions import TOMLKitError

from catchment import config
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir, WrongArguments
from catchment.tokens import new_token, token_hash
from catchment.watch import LOOK_S

errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def token(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> int:
    """Make a new token for the console's port, and print it: it is not kept anywhere.

    catchment.toml gets its hash. A running server takes it within two seconds; from then on the token before is
    refused.
    """
    variable = config.token_variable()
    if variable:
        raise WrongArguments(f"the console's token comes from {variable}: change it there, and start the server again")
    fresh = new_token()
    _put(data_dir, token_hash(fresh))
    print(fresh)
    sys.stdout.flush()
    errors.print(
        f"This is the console's token now. {data_dir / config.FILE_NAME} has only its hash, so keep it yourself."
        f" A running server takes it within {2 * LOOK_S:.0f} s, and then refuses the one before."
    )
    return 0


def _put(data_dir: Path, kept: str) -> None:
    """Writes the hash into the file in place of the one before, or of a token; all else stays as it is. Raises
    `ConfigError` where the file has mistakes, and changes nothing then."""
    file = (data_dir / config.FILE_NAME).resolve()  # a link stays one
    document = _document(file, data_dir)
    table = document.setdefault("console", tomlkit.table())
    if isinstance(table, MutableMapping):
        table.pop("token", None)
        table["token_hash"] = kept
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=config.FILE_NAME)  # created with mode 0600
    fresh = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as writing:
            writing.write(tomlkit.dumps(document))
            writing.flush()
            os.fsync(writing.fileno())
        config.load(data_dir, name=str(fresh))
        fresh.replace(file)
    except config.ConfigError as error:
        raise config.ConfigError(str(data_dir / config.FILE_NAME), error.problems) from None
    finally:
        fresh.unlink(missing_ok=True)


def _document(file: Path, data_dir: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(file.read_text("utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, TOMLKitError):
        config.load(data_dir)  # names what is wrong with it
        raise
