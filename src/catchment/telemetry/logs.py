"""What the server's processes write to standard error: a line for each problem, for a person or as JSON.

Whatever logs - Catchment, Granian, Uvicorn, a warning, an exception that nobody caught - goes through one handler:

- One record is one line. Line breaks and control characters of a stranger's text cannot make another one, nor steer a
  terminal; an exception becomes its name, its text and the places that it came through.
- Of lines of one kind, which have one template, so many a minute are written. When the minute is over, one more tells
  how many were left out.
- The keys and secrets of the settings are replaced wherever they turn up. What else may be secret - bodies, keys that
  are none of ours - is not logged in the first place.

A command that somebody calls writes for a person, whatever the settings say.
"""

import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

from catchment.settings import Logging, Settings

FIELDS = ("request_id", "rejection_id", "source", "endpoint", "status", "code", "left_out")  # beside the message
SECRET_CHARS_MIN = 8
HIDDEN = "[secret]"
LINE_CHARS_MAX = 4000
FRAMES_MAX = 12
KINDS_MAX = 1000
MINUTE_S = 60.0
_HUMAN = "%(asctime)s %(levelname)s %(message)s"
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    ord("\t"): " ",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_BREAK = re.compile(r"\s*\n\s*")
_VALUE = re.compile(r"%[-#0 +]*[\d.*]*[sdrafgxi]")


def configure(settings: Logging, *, part: str = "", stream: TextIO | None = None) -> None:
    """From now on this process logs so; `part` is `serve`, `edge` or `core`. May be called again."""
    secrets = Secrets()
    handler = Lines(settings.lines_per_minute_max, stream or sys.stderr, secrets)
    handler.setFormatter(_Json(part, secrets) if settings.format == "json" else _Human(secrets))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.captureWarnings(True)


def configure_server(settings: Settings, *, part: str) -> None:
    """The same for a part of the server, whose secrets are not to be told, and where nobody sees a traceback."""
    configure(settings.logging, part=part)
    conceal(settings)
    sys.excepthook = _uncaught
    threading.excepthook = lambda found: _uncaught(
        found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback
    )


def conceal(settings: Settings) -> None:
    """The secrets of these settings are not told from now on, nor those of earlier ones."""
    for lines in _handlers():
        lines.secrets.add(_secrets_of(settings))


def is_json() -> bool:
    """Whether a collector reads this process's lines, so that nothing else should stand between them."""
    return any(isinstance(lines.formatter, _Json) for lines in _handlers())


def tell_left_out() -> None:
    """Tells now what was left out; for the end of a process."""
    for lines in _handlers():
        lines.tell_left_out(all_of_it=True)


def described(error: BaseException) -> str:
    """What went wrong and where, without the exception's text, which may quote a body; the system's own is told."""
    what = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        what += f": {error.strerror}"
    return f"{what} at {_places(error.__traceback__)}"


class Secrets:
    """Texts that no line may hold."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()

    def add(self, secrets: Iterable[str]) -> None:
        """These too; a short one would be found in any sentence."""
        self._known |= {secret for secret in secrets if len(secret) >= SECRET_CHARS_MIN}

    def hidden(self, text: str) -> str:
        """The text without them."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text


class Lines(logging.StreamHandler[TextIO]):
    """Writes records, of one kind at most `per_minute_max` a minute; its formatter hides the `secrets`."""

    def __init__(
        self, per_minute_max: int, stream: TextIO, secrets: Secrets, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream)
        self.secrets = secrets
        self._per_minute_max = per_minute_max
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Called under the handler's lock."""
        now = self._clock()
        self._tell_over(now)
        name = record.name, record.levelno, str(record.msg)
        kind = self._kinds.get(name)
        if kind is None:
            if len(self._kinds) >= KINDS_MAX:
                name = "", record.levelno, ""
            kind = self._kinds.setdefault(name, _Kind(now + MINUTE_S))
        if kind.written >= self._per_minute_max:
            kind.left_out += 1
            self._wake_at(kind.ends - now)
            return
        kind.written += 1
        super().emit(record)

    def tell_left_out(self, *, all_of_it: bool = False) -> None:
        """Tells of the minutes that are over, or of all."""
        with self.lock or threading.RLock():
            self._timer = None
            self._tell_over(float("inf") if all_of_it else self._clock())

    def close(self) -> None:
        """The handler is done, unless it goes on: `logging.config` closes handlers that stay."""
        self.tell_left_out(all_of_it=True)
        super().close()

    def _tell_over(self, now: float) -> None:
        for name in [name for name, kind in self._kinds.items() if kind.ends <= now]:
            left_out = self._kinds.pop(name).left_out
            if left_out:
                logger, level, template = name
                what = f"{left_out} more in that minute: {_VALUE.sub('...', template) or 'lines of many kinds'}"
                record = logging.LogRecord(logger, level, "", 0, what, None, None)
                record.left_out = left_out
                super().emit(record)

    def _wake_at(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = threading.Timer(max(0.0, seconds) + 0.01, self.tell_left_out)
            self._timer.daemon = True
            self._timer.start()


class _Kind:
    """Lines of one template in one minute."""

    __slots__ = ("ends", "left_out", "written")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.written = self.left_out = 0


class _Human(logging.Formatter):
    """`2026-03-02 10:00:00,000 ERROR edge: ... request_id=...`"""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__(_HUMAN)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        given = [f"{name}={getattr(record, name)}" for name in FIELDS if hasattr(record, name)]
        text = " ".join((self._style.format(self._timed(record)), *given))
        if record.exc_info and record.exc_info[0]:
            text += f": {_exception(record.exc_info)}"
        return one_line(self._secrets.hidden(text))

    def _timed(self, record: logging.LogRecord) -> logging.LogRecord:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        return record


class _Json(JsonFormatter):
    """`time`, `level`, `message`, `logger`, `part`, `pid`, and where they are known `FIELDS` and `exception`."""

    def __init__(self, part: str, secrets: Secrets) -> None:
        self._secrets = secrets
        super().__init__(
            ["levelname", "message", "name", "process"],
            rename_fields={
                "levelname": "level",
                "name": "logger",
                "process": "pid",
                "exc_info": "exception",
                "stack_info": "stack",
            },
            static_fields={"part": part} if part else {},
            timestamp="time",
        )

    def formatException(self, ei: Any) -> str:
        """As for a person."""
        return _exception(ei)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Only what is known to be of use, without secrets."""
        told = {"time": log_data["time"].isoformat(timespec="milliseconds")}
        for name in ("level", "message", "logger", "part", "pid", *FIELDS, "exception", "stack"):
            if name in log_data:
                value = log_data[name]
                told[name] = self._secrets.hidden(value)[:LINE_CHARS_MAX] if isinstance(value, str) else value
        return told


def one_line(text: str) -> str:
    """The text on one line of bounded length, its control characters shown."""
    text = _BREAK.sub(" | ", text.strip()).translate(_CONTROLS)
    return text if len(text) <= LINE_CHARS_MAX else text[:LINE_CHARS_MAX] + "..."


def _handlers() -> list[Lines]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, Lines)]


def _exception(info: Any) -> str:
    kind, error, trace = info
    if error is None:
        return str(kind)
    said = f"{kind.__name__}: {error}" if str(error) else kind.__name__
    return f"{said} at {_places(trace)}"


def _places(trace: TracebackType | None) -> str:
    """`edge/app.py:171 in _take, ...`, the innermost first."""
    frames = traceback.extract_tb(trace)[-FRAMES_MAX:]
    places = [f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno} in {frame.name}" for frame in frames]
    return ", ".join(reversed(places)) or "an unknown place"


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("nobody caught this", exc_info=(kind, error, trace))


def _secrets_of(settings: Settings) -> Iterable[str]:
    yield from (secret for secret in (settings.console.token, settings.console.token_hash) if secret)
    yield settings.privacy.hash_key
    for app in settings.apps.values():
        if app.moesif:
            yield from app.moesif.application_ids
        if app.batch:
            batch = app.batch
            yield from (*batch.rest_api_keys, *batch.live, *batch.dev, *batch.sdk)
        if app.moloco:
            yield from (key for keys in app.moloco.platforms.values() for key in keys)
            yield from (key.key for key in app.moloco.expiring_keys)
