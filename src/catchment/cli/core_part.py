"""`catchment core`: a program of its own, which imports nothing that only other commands need; see `processes`."""

from catchment import config, processes
from catchment.cli import terminal
from catchment.cli.options import DEFAULT_DATA_DIR, DataDir
from catchment.telemetry import logs

app = terminal.program()


@app.command(name="core", show=False)
def core_command(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> int:
    """Run the core alone, in this terminal."""
    settings = config.in_use(data_dir)
    logs.configure_server(settings, part="core")
    return processes.run_core(data_dir, settings)


def main() -> None:
    """The entry point."""
    terminal.main(app)
