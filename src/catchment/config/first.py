"""The file of a new server: one application, fresh secrets, readable by its owner only."""

import os
import secrets
import tempfile
from pathlib import Path
from typing import NamedTuple

import tomlkit

from catchment.config.file import FILE_NAME, ConfigError, refuse_foreign, refuse_unfinished
from catchment.config.given import token_variable
from catchment.tokens import new_token, token_hash


class First(NamedTuple):
    """A first file was written. `token` is the console's, of which the file has the hash; None where the environment
    gives one."""

    token: str | None


def ensure_file(data_dir: Path) -> First | None:
    """Writes the first `catchment.toml`, readable by the owner only, where there is none. Raises `ConfigError`."""
    path = data_dir / FILE_NAME
    refuse_unfinished(data_dir)
    token = None if token_variable() else new_token()
    try:
        if path.exists():
            return None
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_foreign(data_dir)
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
