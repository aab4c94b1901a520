"""What every program of ours does around a command: log output, standard streams, and failures as sentences.

Exit codes: 0 done, 1 failed, 2 the configuration or the arguments are wrong; of a part and of `serve` also 78, which
tells the supervisor, or the service manager, that trying again is of no use. The parts of a server begin here too, so
this imports nothing that they do not need.
"""

import io
import logging
import os
import sys

from cyclopts import App, CycloptsError
from rich.console import Console
from rich.text import Text

from catchment import __version__, config
from catchment.cli.options import WrongArguments
from catchment.errors import Cannot
from catchment.settings import Logging
from catchment.store.store import StoreError
from catchment.telemetry import logs

logger = logging.getLogger(__name__)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def _usage_error(error: CycloptsError) -> Text:
    command = " ".join(("catchment", *(error.command_chain or ())))
    return Text(f"{error}\nSee `{command} --help`.", style="red")


def program() -> App:
    """The program `catchment`, without a command."""
    return App(
        name="catchment",
        version=__version__,
        help="Self-hosted event collector: Moesif, Batch.com and Moloco in, SQL out.",
        error_console=errors,
        error_formatter=_usage_error,
    )


def main(app: App) -> None:
    """Runs the command of this process, and ends it."""
    os.umask(0o077)  # what any part of it writes is for the owner alone, the engine's files too
    logs.configure(Logging())  # of a part of the server, once its settings are known, as they say
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an event may hold what the terminal's encoding has not
    sys.exit(run(app, sys.argv[1:]))


def run(app: App, arguments: list[str]) -> int:
    """Runs one command; every failure that a person can mend is a sentence, not a traceback."""
    try:
        code = app(arguments, result_action="return_value")
        sys.stdout.flush()
    except (config.ConfigError, WrongArguments) as error:
        return _failed(str(error), 2)
    except Cannot as error:
        return _failed(str(error), error.exit_code)
    except StoreError as error:
        return _failed(f"the store fails: {error}", 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on; what is left goes nowhere
        return 0
    except OSError as error:
        return _failed(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    except UnicodeError as error:
        return _failed(f"there is text that is not UTF-8: {error}", 1)
    return code if isinstance(code, int) else 0


def _failed(sentence: str, code: int) -> int:
    if logs.is_json():
        logger.error("%s", sentence)
    else:
        errors.print(sentence, style="red")
    return code


def note(sentence: str, style: str | None = None) -> None:
    """Tells whoever started the server something beside its output."""
    if logs.is_json():
        logger.info("%s", sentence)
    else:
        errors.print(sentence, style=style)
