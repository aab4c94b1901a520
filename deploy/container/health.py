"""The container's health check: exits with 0 while the edge answers, and with 1 and the reason where it does not.

It asks `/health/live`, for a server in maintenance, or one with a full disk, is not mended by another container.
Whether the store works is no reason either, for the log keeps what comes (docs/metrics.md). Address, port and
certificate are those of the settings, which `catchment serve` reads in the same way.
"""

import os
import sys
from pathlib import Path

import httpx

from catchment import config
from catchment.addresses import url_of
from catchment.supervisor import trust

ASK_S = 5.0


def main(data_dir: Path) -> str | None:
    """What is wrong, or None."""
    try:
        ingest = config.load(data_dir).ingest
        url = url_of(ingest.host, ingest.port, tls=bool(ingest.tls_cert)) + "/health/live"
        answer = httpx.get(url, verify=trust(ingest.tls_cert), timeout=ASK_S, trust_env=False)
    except (config.ConfigError, httpx.HTTPError, OSError) as error:
        return f"the edge does not answer: {error}"
    return None if answer.status_code == httpx.codes.OK else f"{url} answers {answer.status_code}"


if __name__ == "__main__":
    sys.exit(main(Path(os.environ["CATCHMENT_DATA_DIR"])))
