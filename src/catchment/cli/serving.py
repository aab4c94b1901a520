"""`catchment serve`: a program of its own that imports only what it needs, so that the edge starts at once."""

import logging
from functools import partial
from pathlib import Path

from catchment import config, maintenance
from catchment.cli import report, terminal
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir
from catchment.supervisor import serve
from catchment.telemetry import logs

logger = logging.getLogger(__name__)
app = terminal.program()


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
    load = partial(config.load, data_dir, overrides, with_files=True)
    settings = load()
    logs.configure_server(settings, part="serve")
    config.keep_sound(data_dir)
    if first:
        terminal.note(f"Wrote {data_dir / config.FILE_NAME} with fresh secrets.")
    if maintenance.state(data_dir):
        terminal.note("Maintenance is on, so nothing is accepted; `catchment maintenance off` ends it.", style="yellow")
    token = first.token if first else None

    def announce(ingest_url: str, console_url: str) -> None:
        if logs.is_json():  # a collector has no use for keys and commands to paste
            logger.info("serving: senders at %s, the console at %s", ingest_url, console_url)
        else:
            report.welcome(settings, ingest_url, console_url, data_dir, token=token)

    return serve(data_dir, settings, announce, load=load)


def main() -> None:
    """The entry point."""
    terminal.main(app)


def _absolute(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None  # a link stays one, for whoever renews turns it
