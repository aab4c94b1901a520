"""The commands and their options. Exit codes: 0 done, 1 failed, 2 the configuration or the arguments are wrong; of
`status` also 3, which is `attention`'s."""

from typing import Annotated, Literal

from cyclopts import App, Parameter

from catchment import config, maintenance
from catchment.cli import (
    asking,
    attention,
    backup,
    core_part,
    edge_part,
    keys,
    log,
    rejections,
    report,
    serving,
    terminal,
)
from catchment.cli.doctor import doctor
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir, Format, Params, named_values
from catchment.cli.token import token
from catchment.cli.torture import torture
from catchment.edge import memory as edge_memory
from catchment.store import memory as store_memory
from catchment.store import queries

# A query may begin with a comment: `-- like this`.
Query = Annotated[str, Parameter(allow_leading_hyphen=True)]

app = terminal.program()
config_app = App(name="config", help="Look at the configuration.")
app.command(config_app)
app.command(log.app)
app.command(rejections.app)
app.command(doctor)
app.command(backup.app)
app.command(backup.restore)
app.command(serving.serve_command, name="serve")
app.command(edge_part.edge_command, name="edge", show=False)
app.command(core_part.core_command, name="core", show=False)
app.command(token)
app.command(torture)


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
    report.print_bounds(settings, edge_memory.bytes_max(settings), store_memory.engine_bytes_max())
    return 0


@app.command
def sql(
    query: Query, *, param: Params | None = None, data_dir: DataDir = DEFAULT_DATA_DIR, format: Format = "table"
) -> int:
    """Answer one read-only SQL query, whether Catchment runs or not.

    Parameters
    ----------
    query
        SQL in ClickHouse's dialect. The views are events, users, visitors, companies, subscriptions, rejections and
        ledger; see docs/sql.md.
    param
        `NAME=VALUE`: the value for `{NAME:Type}` in the query, as often as there are some.
    format
        `json` is an array of row objects.
    """
    parameters = named_values(param or [])
    report.print_rows(asking.ask(config.in_use(data_dir), data_dir, query, parameters), format)
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
    """Tell whether all is well, and rates, lag and disk.

    Exit codes: 0, all is well, or somebody turned maintenance on; 1, something needs you: a line is red, or nobody can
    tell; 2, the configuration or the arguments are wrong; 3, nothing runs.

    Parameters
    ----------
    format
        `json` is one object, with all figures in full; `attention` names the lines that need you.
    """
    settings = config.in_use(data_dir)
    found = asking.status(settings, data_dir)
    if format == "json":
        report.print_json(found | {"attention": attention.needed(found)})
    else:
        report.print_status(found)
    return attention.exit_code(found)


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
    terminal.main(app)


def run(arguments: list[str]) -> int:
    """Runs one command; its exit code."""
    return terminal.run(app, arguments)
