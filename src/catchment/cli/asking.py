"""Asks the running core over its API, or opens the store itself where nothing runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from catchment import wiring
from catchment.api.overview import overview
from catchment.loader import Loader
from catchment.log.log import LogReader
from catchment.settings import Settings
from catchment.store.store import Column, QueryError, Rows, Store
from catchment.supervisor import running, trust

RETRIES_MAX = 50
RETRY_S = 0.2
TAIL_S = 0.25


class CannotAsk(Exception):
    """Why there is no answer, and what to do."""


def ask(settings: Settings, data_dir: Path, query: str) -> Rows:
    """The answer to a query."""
    run = running(data_dir)
    if run is not None:
        with _client(settings, run) as client:
            answer = _request(client, "POST", "/api/sql", json={"query": query})
            return Rows([Column(**column) for column in answer["columns"]], answer["rows"])
    with _opened(settings, data_dir) as (store, _, _):
        try:
            return store.query(query)
        except QueryError as error:
            raise CannotAsk(str(error)) from None


def follow(settings: Settings, data_dir: Path, filters: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Events as they become visible, for ever."""
    run = running(data_dir)
    if run is None:
        raise CannotAsk(f"nothing runs on {data_dir}; start it with `catchment serve --data-dir {data_dir}`")
    after = ""
    with _client(settings, run) as client:
        while True:
            for event in _request(client, "GET", "/api/tail", params=filters | {"after": after})["rows"]:
                after = event["loaded_at"]
                yield event
            time.sleep(TAIL_S)


def status(settings: Settings, data_dir: Path) -> dict[str, Any]:
    """What `/api/status` tells, and where it runs (`running` is None if it does not)."""
    run = running(data_dir)
    if run is not None:
        with _client(settings, run) as client:
            found: dict[str, Any] = _request(client, "GET", "/api/status")
            return {"running": run} | found
    with _opened(settings, data_dir) as (store, log, loader):
        return {"running": None} | overview(store, log, loader, data_dir)


@contextmanager
def _opened(settings: Settings, data_dir: Path) -> Iterator[tuple[Store, LogReader, Loader]]:
    """The store of a stopped server, with everything loaded that its log still held."""
    if not wiring.claim_core(data_dir):
        raise CannotAsk(f"another process has the store of {data_dir} open; try again when it is done")
    store, log = wiring.open_store(settings, data_dir), wiring.log_reader(settings, data_dir)
    try:
        loader = Loader(log, store, settings.loader)
        while loader.step():
            pass
        yield store, log, loader
    finally:
        store.close()


def _client(settings: Settings, run: dict[str, Any]) -> httpx.Client:
    url = run.get("console")
    if not url:
        raise CannotAsk("the server is just starting or stopping; try again in a moment")
    return httpx.Client(
        base_url=url,
        headers={"authorization": f"Bearer {settings.console.token}"},
        verify=trust(run.get("tls_cert")),
        timeout=settings.sql.seconds_max + 10,
        trust_env=False,
    )


def _request(client: httpx.Client, method: str, path: str, **arguments: Any) -> dict[str, Any]:
    """One call; a core that is being started again is waited for."""
    for _ in range(RETRIES_MAX):
        try:
            response = client.request(method, path, **arguments)
        except httpx.ConnectError:
            time.sleep(RETRY_S)
            continue
        except httpx.HTTPError as error:
            raise CannotAsk(f"no answer from {client.base_url}: {error}") from None
        answer: dict[str, Any] = response.json()
        if response.is_success:
            return answer
        raise CannotAsk(answer.get("error", f"HTTP {response.status_code}"))
    raise CannotAsk(f"nothing answers at {client.base_url}; see `catchment status`")
