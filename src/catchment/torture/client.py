"""One client under torture: it sends a call until it is answered, as a vendor's SDK does, and behaves badly meanwhile.

Before a call is sent it may be begun and broken off; it may be sent slowly, or sent by someone who leaves before the
answer; after its answer it may be sent again, at once or later. Some calls are bad on purpose. The account is written
before the first byte of a whole call leaves, and after its answer came, so it never knows less than the server.
"""

import random
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from catchment.torture.account import Account, State
from catchment.torture.calls import BAD, FORMS, Call, make, make_bad
from catchment.torture.notes import Notes

PATIENCE_S = (1.5, 4.0, 10.0)  # how long a client waits for an answer before it sends again
PAUSE_S = (0.05, 0.5)
GIVES_UP = 0.01  # how often a client never tries again
REMEMBERED_CALLS = 50
_SOUND, _SERVER_ERRORS = (200, 201), 500
_PART_PAUSE_S = 0.15
_ANSWER_BYTES_MAX = 4096


class Manners(NamedTuple):
    """How often a call is broken off, sent slowly, left alone before its answer, or sent again, and how often one is
    bad on purpose; from 0 to 1."""

    cut: float = 0.02
    slow: float = 0.01
    gone: float = 0.02
    again: float = 0.05
    bad: float = 0.03


class Client(threading.Thread):
    """Client `number`, which sends `rate` events a second to `url` until `stop`; `manners` may be changed."""

    def __init__(self, number: int, url: str, keys: Mapping[str, str], *, rate: float, seed: int, notes: Notes) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.account = Account(number)
        self.manners = Manners()
        self.stop = threading.Event()
        self.retries = 0
        self.acknowledged = 0  # events, as often as they were
        self.error: BaseException | None = None
        self._number = number
        self._url = url
        self._keys = keys
        self._rate = rate
        self._chance = random.Random(f"{seed}/{number}")  # noqa: S311 - repeatable, not secret
        self._notes = notes
        self._recent: deque[Call] = deque(maxlen=REMEMBERED_CALLS)
        self._http = self._connect()

    def run(self) -> None:
        """Sends until it is told to stop; then what is under way still gets its answer, if it comes soon."""
        due = time.monotonic()
        try:
            while not self.stop.is_set():
                count = self._send_something()
                due = max(due, time.monotonic() - 1) + count / self._rate
                self.stop.wait(max(0.0, due - time.monotonic()))
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._http.close()

    def _send_something(self) -> int:
        """One call; how many events it had."""
        chance, manners = self._chance, self.manners
        if chance.random() < manners.bad:
            self._send_bad()
            return 1
        if self._recent and chance.random() < manners.again / 2:
            self._deliver(chance.choice(self._recent), "again later")
            return 1
        call = self._new_call()
        if chance.random() < manners.cut:
            self._cut(call)
            if chance.random() < 0.5:
                return call.events  # and it is never sent: what was cut off must not be found
        if chance.random() < manners.gone:
            self._leave(call)
        self._deliver(call, "slowly" if chance.random() < manners.slow else "")
        self._recent.append(call)
        if chance.random() < manners.again:
            self._deliver(call, "again")
        return call.events

    def _new_call(self) -> Call:
        [form] = self._chance.choices(range(len(FORMS)), [form.weight for form in FORMS])
        count = self._chance.choice(FORMS[form].sizes)
        return make(form, self._number, self.account.begin(form, count), count, self._keys)

    def _deliver(self, call: Call, how: str) -> None:
        """Sends it until it is answered, or until nobody wants to know any more."""
        begun, tries = time.time(), 0
        self.account.mark(call.first, call.events, State.SENT)
        while True:
            tries += 1
            status = self._post_slowly(call) if how == "slowly" and tries == 1 else self._post(call)
            if status is not None and status < _SERVER_ERRORS:
                break
            self.retries += 1
            if self._chance.random() < GIVES_UP or (self.stop.wait(self._chance.uniform(*PAUSE_S)) and tries > 1):
                break
        if status is not None and status < _SERVER_ERRORS:
            if status == FORMS[call.form].success:
                self.account.mark(call.first, call.events, State.ACKNOWLEDGED)
                self.acknowledged += call.events
            else:
                self.account.refuse(call.first, status)
        self._notes.call(self._number, call, how or "sent", status, tries=tries, begun=begun)

    def _send_bad(self) -> None:
        """Once: nobody sends a refused call again. What is accepted though is bad for the verdict."""
        source = self._chance.choice(list(BAD))
        self.account.bad_sent += 1
        name = f"bad-c{self._number}-{self.account.bad_sent}"
        status = self._post(make_bad(source, name, self._keys))
        if status is not None and status in _SOUND:
            self.account.bad_taken.append(name)
        elif status is not None and status < _SERVER_ERRORS:
            self.account.bad_refused += 1

    def _post(self, call: Call) -> int | None:
        """The status of the answer; None where there was none."""
        try:
            return self._http.post(
                call.path, content=call.body, headers=call.headers, timeout=self._chance.choice(PATIENCE_S)
            ).status_code
        except httpx.HTTPError:
            self._http.close()
            self._http = self._connect()
            return None

    def _connect(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, trust_env=False)

    def _cut(self, call: Call) -> None:
        """Begins the call and closes the connection in the middle of its body, sometimes of a chunked one."""
        end = self._chance.randrange(1, len(call.body)) if len(call.body) > 1 else 0
        with suppress(OSError), self._opened() as connection:
            if self._chance.random() < 0.5:
                connection.sendall(_head(call, f"Content-Length: {len(call.body)}") + call.body[:end])
            else:
                self.account.broken_off += 1
                chunk = b"%x\r\n%s\r\n" % (end, call.body[:end])
                connection.sendall(_head(call, "Transfer-Encoding: chunked") + chunk)
            time.sleep(self._chance.uniform(0, _PART_PAUSE_S))
        self._notes.call(self._number, call, "cut", None, tries=1, begun=time.time())

    def _leave(self, call: Call) -> None:
        """Sends the whole call and closes the connection without the answer."""
        self.account.mark(call.first, call.events, State.SENT)
        with suppress(OSError), self._opened() as connection:
            connection.sendall(_head(call, f"Content-Length: {len(call.body)}") + call.body)
            time.sleep(self._chance.uniform(0, 0.01))
        self._notes.call(self._number, call, "left", None, tries=1, begun=time.time())

    def _post_slowly(self, call: Call) -> int | None:
        """Sends it in some parts with pauses; the status of the answer, None where there was none."""
        parts = 4
        size = -(-len(call.body) // parts)
        try:
            with self._opened() as connection:
                connection.sendall(_head(call, f"Content-Length: {len(call.body)}"))
                for part in range(parts):
                    time.sleep(self._chance.uniform(0, _PART_PAUSE_S))
                    connection.sendall(call.body[part * size : (part + 1) * size])
                answer = connection.recv(_ANSWER_BYTES_MAX)
        except OSError:
            return None
        words = answer.split(b" ", 2)
        return int(words[1]) if len(words) == 3 and words[1].isdigit() else None

    def _opened(self) -> socket.socket:
        url = urlsplit(self._url)
        return socket.create_connection((url.hostname or "", url.port or 0), timeout=max(PATIENCE_S))


def _head(call: Call, length: str) -> bytes:
    fields = [f"{name}: {value}" for name, value in call.headers.items()]
    lines = [f"POST {call.path} HTTP/1.1", "Host: torture", *fields, length, "Connection: close", "", ""]
    return "\r\n".join(lines).encode()
