"""The commands and their options. Exit codes: 0 done, 1 failed, 2 the configuration or the arguments are wrong."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console

from catchment import __version__, config, processes
from catchment.cli import asking, keys, report
from catchment.settings import Settings
from catchment.supervisor import CannotServe, serve

DataDir = Annotated[
    Path, Parameter(env_var="CATCHMENT_DATA_DIR", help="Folder with catchment.toml, the log and the store.")
]
Format = Literal["table", "json", "csv", "ndjson"]
DEFAULT_DATA_DIR = Path("data")

app = App(
    name="catchment", version=__version__, help="Self-hosted event collector: Moesif, Batch.com and Moloco in, SQL out."
)
config_app = App(name="config", help="Look at the configuration.")
app.command(config_app)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


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
    host, port
        Where SDKs send to; port 0 takes a free one.
    console_host, console_port
        Where the console and its API listen.
    workers
        Edge processes.
    tls_cert, tls_key
        Certificate and key (PEM) for HTTPS on both ports.
    """
    first = config.ensure_file(data_dir)
    ingest = {"host": host, "port": port, "workers": workers}
    ingest |= {"tls_cert": _absolute(tls_cert), "tls_key": _absolute(tls_key)}
    settings = config.load(data_dir, {"ingest": ingest, "console": {"host": console_host, "port": console_port}})
    if first:
        errors.print(f"Wrote {data_dir / config.FILE_NAME} with fresh secrets.")
    return serve(
        data_dir, settings, lambda ingest_url, console_url: report.welcome(settings, ingest_url, console_url, data_dir)
    )


@app.command(name="edge", show=False)
def edge_command(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> int:
    """Run the edge processes alone, in this terminal."""
    return processes.run_edge(data_dir, config.load(data_dir))


@app.command(name="core", show=False)
def core_command(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> int:
    """Run the core alone, in this terminal."""
    return processes.run_core(data_dir, config.load(data_dir))


@app.command(name="keys")
def keys_command(*, data_dir: DataDir = DEFAULT_DATA_DIR, format: Literal["table", "json"] = "table") -> int:
    """Print the applications' keys and the console's token.

    Parameters
    ----------
    format
        `json` is an array with an object for each application.
    """
    found = keys.of_apps(config.load(data_dir))
    if format == "json":
        report.print_json(found)
    else:
        report.print_keys(found)
    return 0


@config_app.command(name="check")
def config_check(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> int:
    """Read the configuration and name every mistake at once."""
    settings = config.load(data_dir)
    print(f"{data_dir / config.FILE_NAME} is sound: {', '.join(settings.apps)}")
    return 0


@app.command
def sql(query: str, *, data_dir: DataDir = DEFAULT_DATA_DIR, format: Format = "table") -> int:
    """Answer one read-only SQL query, whether Catchment runs or not.

    Parameters
    ----------
    query
        SQL in ClickHouse's dialect. The views are events, users and rejections; see docs/sql.md.
    format
        `json` is an array of row objects.
    """
    report.print_rows(asking.ask(config.load(data_dir), data_dir, query), format)
    return 0


@app.command
def tail(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    source: str = "",
    name: str = "",
    user_id: str = "",
    format: Literal["text", "ndjson"] = "text",
) -> int:
    """Print events as they arrive, until Ctrl-C.

    Parameters
    ----------
    source
        Only `moesif`, `batch` or `moloco`.
    name
        Only events of this name.
    user_id
        Only events of this user.
    """
    filters = {"source": source, "name": name, "user_id": user_id}
    for event in asking.follow(config.load(data_dir), data_dir, filters):
        report.print_event(event, format)
    return 0


@app.command
def status(*, data_dir: DataDir = DEFAULT_DATA_DIR, format: Literal["text", "json"] = "text") -> int:
    """Tell keys, rates, lag and disk."""
    settings = config.load(data_dir)
    found: dict[str, Any] = asking.status(settings, data_dir)
    if format == "json":
        report.print_json(found)
    else:
        report.print_status(found, keys.of_apps(settings))
    return 0


def main() -> None:
    """The entry point."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command; every failure that a person can mend is a sentence, not a traceback."""
    try:
        code = app(arguments, result_action="return_value")
        return code if isinstance(code, int) else 0
    except config.ConfigError as error:
        errors.print(str(error), style="red")
        return 2
    except (CannotServe, asking.CannotAsk) as error:
        errors.print(str(error), style="red")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _absolute(path: Path | None) -> str | None:
    return str(path.resolve()) if path else None


__all__ = ["Settings", "main", "run"]
