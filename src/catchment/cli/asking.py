"""Asks the running core over its API, or opens the store itself where nothing runs.

A core that is just being started, or started again, is waited for; so is another command that has the store open.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

from catchment import config, maintenance, wiring
from catchment.api.overview import overview, room_left
from catchment.backup.snapshot import Snapshot, seconds_max
from catchment.cli.patience import SIGN_WITHIN_S, NoSign, patiently
from catchment.errors import Cannot
from catchment.holding import CORE_LOCK, holder
from catchment.loader import Loader
from catchment.log.disk import LocalDisk
from catchment.log.log import LogReader
from catchment.log.room import Growth, room_of
from catchment.settings import Settings
from catchment.store.store import Column, QueryError, Rows, Store, StoreError
from catchment.supervisor import running, trust
from catchment.telemetry import files
from catchment.telemetry.supervision import settings_sound

WAIT_S = 10.0
RETRY_S = 0.2
TAIL_S = 0.25
GROWTH_S = 1.0  # between two looks at the log
EDGE_WITHIN_S = 3.0
LIVE_WITHIN_S = 2.5  # as in `patience`, for `status`, which has much else to tell
LIVE_PATH = "/health/live"

Ask = Callable[[str, Mapping[str, Any]], Rows]  # a query and its parameters


class CannotAsk(Cannot):
    """Why there is no answer, and what to do."""


class CoreAway(CannotAsk):
    """The server runs, but its core does not answer."""


class _RunningCore:
    """The API of the server that holds `data_dir`, as `run` describes it."""

    def __init__(self, settings: Settings, data_dir: Path, run: dict[str, Any]) -> None:
        self._data_dir = data_dir
        self._client = httpx.Client(
            base_url=run["console"],
            headers={"authorization": f"Bearer {run.get('secret', '')}"},
            verify=trust(run["tls_cert"]),
            timeout=settings.sql.seconds_max + 10,
            trust_env=False,
        )

    def require_life(self) -> None:
        """Raises `CoreAway` where it hangs, sooner than a call would that may take its time."""
        self.request("GET", LIVE_PATH, timeout=LIVE_WITHIN_S)

    def request(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """One call; whatever is called may be called again. It may take its time, but not where the core hangs: that
        raises `CoreAway` soon."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return _answer(patiently(partial(self._client.request, method, path, **arguments), self._is_alive))
            except (httpx.TimeoutException, NoSign):
                core = holder(self._data_dir / CORE_LOCK)
                raise CoreAway(
                    f"no answer from {self._client.base_url} in time: the core, {core}, is busy, or it hangs. If it"
                    " stays so, end it with `kill -9`: it is started again, and nothing is lost"
                ) from None
            except httpx.TransportError as error:
                if running(self._data_dir) is None:
                    raise CannotAsk(f"the server on {self._data_dir} has stopped meanwhile") from None
                if time.monotonic() > deadline:
                    raise CoreAway(f"no answer from {self._client.base_url}: {error}") from None
            time.sleep(RETRY_S)

    def _is_alive(self) -> bool:
        """Whether the core hangs, and no more: the call itself finds all else that may be wrong."""
        try:
            self._client.get(LIVE_PATH, timeout=SIGN_WITHIN_S)
        except httpx.TimeoutException:
            return False
        except httpx.TransportError:
            pass
        return True

    def close(self) -> None:
        self._client.close()


def ask(settings: Settings, data_dir: Path, query: str, parameters: Mapping[str, Any] | None = None) -> Rows:
    """The answer to a query; `parameters` are bound to `{name:Type}` in it."""
    with asker(settings, data_dir) as put:
        return put(query, parameters or {})


@contextmanager
def asker(settings: Settings, data_dir: Path, *, caught_up: bool = False) -> Iterator[Ask]:
    """What answers several queries, one after the other. With `caught_up`, only after all that is in the log now was
    loaded, so that what was answered a moment ago is seen."""
    with _running_core(settings, data_dir) as core:
        if core is not None:
            if caught_up:
                _wait_for_loader(core)

            def over_api(query: str, parameters: Mapping[str, Any]) -> Rows:
                answer = core.request("POST", "/api/sql", json={"query": query, "parameters": dict(parameters)})
                return Rows([Column(**column) for column in answer["columns"]], answer["rows"])

            yield over_api
            return
    with _opened(settings, data_dir) as (store, _, _):

        def in_store(query: str, parameters: Mapping[str, Any]) -> Rows:
            try:
                answer = store.query(query, parameters)
                return Rows(answer.columns, answer.rows)
            except (QueryError, UnicodeError) as error:
                raise CannotAsk(str(error)) from None

        yield in_store


def _wait_for_loader(core: _RunningCore) -> None:
    """Returns once nothing waits to be loaded, or after a while: under steady traffic something always waits."""
    deadline = time.monotonic() + WAIT_S
    while core.request("GET", "/api/status")["lag"]["unread_bytes"] and time.monotonic() < deadline:
        time.sleep(RETRY_S)


def follow(settings: Settings, data_dir: Path, filters: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Events as they become visible, until the server stops."""
    after = ""
    with _running_core(settings, data_dir) as core:
        if core is None:
            raise CannotAsk(f"nothing runs on {data_dir}; start it with `catchment serve --data-dir {data_dir}`")
        while True:
            answer = core.request("GET", "/api/tail", params=filters | {"after": after})
            after = answer["after"]
            yield from answer["rows"]
            time.sleep(TAIL_S)


def snapshot(settings: Settings, data_dir: Path) -> Snapshot:
    """Holds the data dir fast as it is at this moment, whether Catchment runs or not."""
    with _running_core(settings, data_dir) as core:
        if core is not None:
            within_s = seconds_max(settings.sql)
            return msgspec.convert(core.request("POST", "/api/backup", timeout=within_s), Snapshot)
    _claim(data_dir)
    return wiring.snapshot_of_stopped(data_dir)


def status(settings: Settings, data_dir: Path) -> dict[str, Any]:
    """What `/api/status` tells, where it runs (`running` is None if it does not, or is `starting` or stopping),
    whether it is in maintenance, whether the next start would take the settings (`settings_sound`), and in
    `not_accepting` why the edge takes no events, or None.
    Where neither the core answers nor the store opens, `unanswered` is why, and `room` all else that there is."""
    begun = maintenance.state(data_dir)
    try:
        found = _overview(settings, data_dir)
    except (CoreAway, StoreError) as error:
        found = {"unanswered": str(error), "room": _room(settings, data_dir)}
    held = running(data_dir)
    run = {name: value for name, value in (held or {}).items() if name != "secret"}
    known = {"running": run or None, "starting": held == {}, "maintenance": begun._asdict() if begun else None}
    known["settings_sound"] = settings_sound(data_dir / files.FOLDER) if held is not None else _would_start(data_dir)
    return known | {"not_accepting": _why_not_accepting(run) if run else None} | found


def _would_start(data_dir: Path) -> bool:
    try:
        config.load(data_dir, with_files=True)
    except config.ConfigError:
        return False
    return True


def _why_not_accepting(run: dict[str, Any]) -> str | None:
    try:
        answer = httpx.get(
            run["ingest"] + "/health/ready", verify=trust(run["tls_cert"]), timeout=EDGE_WITHIN_S, trust_env=False
        )
        state = str(answer.json()["status"])
    except (httpx.HTTPError, OSError) as error:
        reason = str(error) or f"no answer within {EDGE_WITHIN_S:.0f} s"
        return (
            f"it does not answer at {run['ingest']}: {reason}. What has died is started again; the log output says why"
        )
    except (ValueError, KeyError, TypeError):
        return f"what answers at {run['ingest']} is another program; see what listens there"
    return None if state in ("ok", "maintenance") else f"every event is answered 503: {state}"  # maintenance is told


def _overview(settings: Settings, data_dir: Path) -> dict[str, Any]:
    with _running_core(settings, data_dir) as core:
        if core is not None:
            core.require_life()
            return core.request("GET", "/api/status")
    with _opened(settings, data_dir) as (store, log, loader):
        return overview(store, log, loader, data_dir, settings.log, Growth())


def _room(settings: Settings, data_dir: Path) -> dict[str, Any]:
    """What the folder of the log tells by itself, of two looks at it."""
    disk, folder, growth = LocalDisk(), data_dir / wiring.LOG_FOLDER, Growth()
    growth.note(time.monotonic(), room_of(disk, folder).unread_bytes)
    time.sleep(GROWTH_S)
    room = room_of(disk, folder)
    growth.note(time.monotonic(), room.unread_bytes)
    return room_left(room, settings.log, growth)


@contextmanager
def _running_core(settings: Settings, data_dir: Path) -> Iterator[_RunningCore | None]:
    """The core of the server that holds `data_dir`; None if there is none."""
    deadline = time.monotonic() + WAIT_S
    while (run := running(data_dir)) == {}:  # it says where it listens once it is ready
        if time.monotonic() > deadline:
            raise CoreAway(
                f"the server on {data_dir} is starting or stopping, and its core does not answer; its log output tells"
                " why. What is accepted meanwhile waits in the log; try again in a moment"
            )
        time.sleep(RETRY_S)
    if run is None:
        yield None
        return
    core = _RunningCore(settings, data_dir, run)
    try:
        yield core
    finally:
        core.close()


@contextmanager
def _opened(settings: Settings, data_dir: Path) -> Iterator[tuple[Store, LogReader, Loader]]:
    """The store of a stopped server, with everything loaded that its log still held."""
    _claim(data_dir)
    store, log = wiring.open_store(settings, data_dir), wiring.log_reader(settings, data_dir)
    try:
        loader = Loader(log, store, settings.loader)
        while loader.step():
            pass
        yield store, log, loader
    finally:
        store.close()


def _claim(data_dir: Path) -> None:
    """Waits for the right to open the store, which this process then has until it ends."""
    deadline = time.monotonic() + WAIT_S
    while not wiring.claim_core(data_dir):
        if time.monotonic() > deadline:
            who = holder(data_dir / CORE_LOCK)
            raise CannotAsk(f"{who} has the store of {data_dir} open; try again when it is done")
        time.sleep(RETRY_S)


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = response.json()
    except ValueError:
        answer = {"error": f"{response.url} answered HTTP {response.status_code}, and not in JSON"}
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise CannotAsk(
            "the server does not know the secret of run.json in the data dir: it was started again just now; try again"
        )
    if not response.is_success or "error" in answer:
        raise CannotAsk(answer.get("error", f"HTTP {response.status_code}"))
    return answer
