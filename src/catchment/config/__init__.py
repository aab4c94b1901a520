"""Reads `catchment.toml` and the environment into `Settings`, and writes the first file.

A value comes from the command line, else from the environment (`CATCHMENT_INGEST__PORT=9000`, tables joined by two
underscores, lists and tables as JSON), else from the file, else from its default. All mistakes are reported at once:
the key, what was found, what is allowed; but never what may be a secret.

- `file.py`: the file, its names, and what its folder must not be
- `given.py`: what the environment and the command line lay over it
- `mistakes.py`: a line for each setting that is wrong
- `usable.py`: what is well formed but names nothing that can be used
- `reading.py`: all of these together
- `first.py`: the file of a new server
"""

from catchment.config.file import FILE_NAME, RESTORING_NAME, SOUND_NAME, ConfigError
from catchment.config.first import First, ensure_file, first_file
from catchment.config.given import token_variable
from catchment.config.mistakes import SECRETS
from catchment.config.reading import in_use, keep_sound, load

__all__ = [
    "FILE_NAME",
    "RESTORING_NAME",
    "SECRETS",
    "SOUND_NAME",
    "ConfigError",
    "First",
    "ensure_file",
    "first_file",
    "in_use",
    "keep_sound",
    "load",
    "token_variable",
]
