"""`catchment edge`: a program of its own, which imports nothing of the core; see `edge_processes`."""

from catchment import config, edge_processes
from catchment.cli import terminal
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir
from catchment.telemetry import logs

app = terminal.program()


@app.command(name="edge", show=False)
def edge_command(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> int:
    """Run the edge processes alone, in this terminal."""
    settings = config.in_use(data_dir)
    logs.configure_server(settings, part="edge")
    return edge_processes.run_edge(data_dir, settings)


def main() -> None:
    """The entry point."""
    terminal.main(app)
