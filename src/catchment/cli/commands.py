"""The commands and their options. Exit codes: 0 done, 1 failed, 2 the configuration or the arguments are wrong."""

import io
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.text import Text

from catchment import __version__, config, maintenance, processes
from catchment.cli import asking, keys, log, rejections, report
from catchment.cli.doctor import doctor
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir, Format, WrongArguments
from catchment.cli.token import token
from catchment.store import queries
from catchment.store.store import StoreError
from catchment.supervisor import CannotServe, serve

# A query may begin with a comment: `-- like this`.
Query = Annotated[str, Parameter(allow_leading_hyphen=True)]

errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def _usage_error(error: CycloptsError) -> Text:
    command = " ".join(("catchment", *(error.command_chain or ())))
    return Text(f"{error}\nSee `{command} --help`.", style="red")


app = App(
    name="catchment",
    version=__version__,
    help="Self-hosted event collector: Moesif, Batch.com and Moloco in, SQL out.",
    error_console=errors,
    error_formatter=_usage_error,
)
config_app = App(name="config", help="Look at the configuration.")
app.command(config_app)
app.command(log.app)
app.command(rejections.app)
app.command(doctor)
app.command(token)


@app.command(name="serve")
def serve_command(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    host: str | None = None,
    port: int | None = None,
    console_host: str | None = None,
    console_port: int | None = None,
    workers: int | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> int:
    """Start everything; Ctrl-C or SIGTERM stops it in order.

    The first start writes DATA_DIR/catchment.toml with fresh secrets. Options win over the environment
    (CATCHMENT_INGEST__PORT=...) and that over the file.

    Parameters
    ----------
    host
        Address that SDKs send to.
    port
        Port that SDKs send to; 0 takes a free one.
    console_host
        Address of the console and its API.
    console_port
        Port of the console and its API; 0 takes a free one.
    workers
        Edge processes that share the SDKs' port.
    tls_cert
        Certificate chain (PEM) for HTTPS on both ports; wants --tls-key.
    tls_key
        Private key (PEM) of the certificate.
    """
    first = config.ensure_file(data_dir)
    ingest = {"host": host, "port": port, "workers": workers}
    ingest |= {"tls_cert": _absolute(tls_cert), "tls_key": _absolute(tls_key)}
    overrides = {"ingest": ingest, "console": {"host": console_host, "port": console_port}}
    settings = config.load(data_dir, overrides, with_files=True)
    config.keep_sound(data_dir)
    if first:
        errors.print(f"Wrote {data_dir / config.FILE_NAME} with fresh secrets.")
    token = first.token if first else None
    if maintenance.state(data_dir):
        errors.print("Maintenance is on, so nothing is accepted; `catchment maintenance off` ends it.", style="yellow")
    return serve(
        data_dir,
        settings,
        lambda ingest_url, console_url: report.welcome(settings, ingest_url, console_url, data_dir, token=token),
    )


@app.command(name="edge", show=False)
def edge_command(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> int:
    """Run the edge processes alone, in this terminal."""
    return processes.run_edge(data_dir, config.in_use(data_dir))


@app.command(name="core", show=False)
def core_command(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> int:
    """Run the core alone, in this terminal."""
    return processes.run_core(data_dir, config.in_use(data_dir))


@app.command(name="keys")
def keys_command(*, data_dir: DataDir = DEFAULT_DATA_DIR, format: Literal["table", "json"] = "table") -> int:
    """Print the applications' keys.

    Parameters
    ----------
    format
        `json` is an array with an object for each application.
    """
    found = keys.of_apps(config.in_use(data_dir))
    if format == "json":
        report.print_json(found)
    else:
        report.print_keys(found)
        report.print_token_hint()
    return 0


@config_app.command(name="check")
def config_check(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> int:
    """Read the configuration and name every mistake at once."""
    settings = config.load(data_dir, with_files=True)
    print(f"{data_dir / config.FILE_NAME} is sound: {', '.join(settings.apps)}")
    return 0


@app.command
def sql(query: Query, *, data_dir: DataDir = DEFAULT_DATA_DIR, format: Format = "table") -> int:
    """Answer one read-only SQL query, whether Catchment runs or not.

    Parameters
    ----------
    query
        SQL in ClickHouse's dialect. The views are events, users, visitors, companies, subscriptions, rejections and
        ledger; see docs/sql.md.
    format
        `json` is an array of row objects.
    """
    report.print_rows(asking.ask(config.in_use(data_dir), data_dir, query), format)
    return 0


@app.command
def request(token: str, *, data_dir: DataDir = DEFAULT_DATA_DIR, format: Format = "table") -> int:
    """Print the events of one accepted Batch request, whether Catchment runs or not.

    Parameters
    ----------
    token
        What the request was answered with, as `token`.
    format
        `json` is an array of row objects.
    """
    found = asking.ask(config.in_use(data_dir), data_dir, queries.text("request"), {"token": token})
    if not found.rows:
        raise asking.CannotAsk(
            f"no event has the token {token!r} yet; events show up about a second after the answer, and"
            " `catchment status` tells whether some still wait. If none do, the token is of another server"
        )
    report.print_rows(found, format)
    return 0


@app.command
def tail(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    source: Literal["moesif", "batch", "moloco"] | None = None,
    name: str | None = None,
    user_id: str | None = None,
    format: Literal["text", "ndjson"] = "text",
) -> int:
    """Print events as they arrive, until Ctrl-C.

    Parameters
    ----------
    source
        Only events of this source.
    name
        Only events of this name.
    user_id
        Only events of this user.
    format
        `ndjson` is an object on each line.
    """
    filters = {"source": source, "name": name, "user_id": user_id}
    given = {key: value for key, value in filters.items() if value is not None}
    for event in asking.follow(config.in_use(data_dir), data_dir, given):
        report.print_event(event, format)
    return 0


@app.command
def status(*, data_dir: DataDir = DEFAULT_DATA_DIR, format: Literal["text", "json"] = "text") -> int:
    """Tell keys, rates, lag and disk.

    Parameters
    ----------
    format
        `json` is one object, with all figures in full.
    """
    settings = config.in_use(data_dir)
    found = asking.status(settings, data_dir)
    if format == "json":
        report.print_json(found)
    else:
        report.print_status(found, keys.of_apps(settings))
    return 0


@app.command(name="maintenance")
def maintenance_command(
    state: Literal["on", "off"] | None = None, /, *, reason: str = "", data_dir: DataDir = DEFAULT_DATA_DIR
) -> int:
    """Turn maintenance on or off, or tell its state, whether Catchment runs or not.

    While it is on, every call that writes is answered 503 in the vendor's form, with Retry-After; what was accepted
    before goes its way. Every edge process takes a change within about a second. A restart does not end it.

    Parameters
    ----------
    state
        `on` or `off`; without it, only the state is told.
    reason
        Why, for whoever asks for the state; senders do not see it.
    """
    config.in_use(data_dir)  # or there is no such data dir
    if state == "on":
        maintenance.begin(data_dir, reason)
    elif state == "off":
        maintenance.end(data_dir)
    report.print_maintenance(maintenance.state(data_dir))
    return 0


def main() -> None:
    """The entry point."""
    os.umask(0o077)  # what any part of it writes is for the owner alone, the engine's files too
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an event may hold what the terminal's encoding has not
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command; every failure that a person can mend is a sentence, not a traceback."""
    try:
        code = app(arguments, result_action="return_value")
        sys.stdout.flush()
    except (config.ConfigError, WrongArguments) as error:
        return _failed(str(error), 2)
    except (CannotServe, asking.CannotAsk) as error:
        return _failed(str(error), 1)
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
    errors.print(sentence, style="red")
    return code


def _absolute(path: Path | None) -> str | None:
    return str(path.resolve()) if path else None
