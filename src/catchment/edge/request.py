"""What is known of a request so far: for its answer, and for the rejection that it may become."""

import asyncio
from contextlib import suppress

from catchment.dialects.dialect import Answer, Call, Caller, Dialect, Route
from catchment.edge.body import (
    BadEncoding,
    Source,
    TooLarge,
    declared_bytes,
    decompress,
    drain_body,
    read_body,
)
from catchment.edge.gate import Place, TooSlow
from catchment.edge.idempotency import KEY_HEADER, BadKey, KeyedCall, key_of
from catchment.edge.observer import Sight
from catchment.errors import Refused

DRAINED_BYTES_MAX = 16 * 1024 * 1024  # the largest body of any vendor; part by part, and each is forgotten at once
DRAIN_SECONDS_MAX = 2.0
LARGE_DRAIN_BYTES = 64 * 1024  # of a body, which may then come for
LARGE_DRAIN_SECONDS_MAX = 10.0


class Request:
    """One call and its dialect. `place` is None until it has one, `caller` until the key was understood; `body` is
    empty until it was read, and `fields` are header fields that its answer gets, whatever that is."""

    def __init__(self, dialect: Dialect, call: Call, sight: Sight) -> None:
        self.sight = sight
        self.dialect = dialect
        self.call = call
        self.place: Place | None = None
        self.caller: Caller | None = None
        self.body = b""
        self.was_read = False
        self.fields: list[tuple[str, str]] = []

    async def read(self, route: Route, source: Source, place: Place) -> None:
        """The body, without its encoding. Of one that cannot be decompressed, what was sent stays."""
        faults, headers = self.dialect.faults, self.call.headers
        self.was_read = self.declared_bytes <= route.body_bytes_max  # a larger one is refused unread
        try:
            self.body = await read_body(source, headers, route.body_bytes_max, place)
            encoding = headers.get("content-encoding")
            if encoding:
                self.body = decompress(self.body, encoding, route.body_bytes_max)
                place.hold(len(self.body), came=False)
        except TooSlow:
            raise Refused(faults.too_slow, "the body did not come in time") from None
        except TooLarge:
            reason = f"body is larger than {route.body_bytes_max} bytes, counted without compression"
            raise Refused(faults.too_large, reason) from None
        except BadEncoding as error:
            raise Refused(faults.malformed, str(error)) from None

    @property
    def undrained_bytes(self) -> int:
        """Of its body that nobody has read; 0 where there is none, or where it is not to be let in."""
        if self.was_read or self.call.method == "GET" or "expect" in self.call.headers:
            return 0
        declared = self.declared_bytes
        return declared if declared <= DRAINED_BYTES_MAX else 0

    async def drain(self, source: Source) -> None:
        """Lets the body of a request that was refused without it come, for a moment, and keeps nothing of it: an answer
        before the body has come ends the connection, and with it maybe the answer."""
        seconds_max = LARGE_DRAIN_SECONDS_MAX if self.undrained_bytes > LARGE_DRAIN_BYTES else DRAIN_SECONDS_MAX
        self.was_read = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                await drain_body(source, DRAINED_BYTES_MAX)

    @property
    def declared_bytes(self) -> int:
        """What the Content-Length says; 0 without one."""
        try:
            return declared_bytes(self.call.headers) or 0
        except TooLarge:
            return 0

    def release_body(self) -> None:
        """Forgets the body, of which nothing is needed any more."""
        self.body = b""
        if self.place:
            self.place.hold(0)

    def identify(self) -> None:
        """Learns the application where the key tells it, though there is no route."""
        try:
            self.caller = self.dialect.authenticate(self.call)
        except (Refused, KeyError):
            self.caller = None

    def keyed(self, caller: Caller, route: Route) -> KeyedCall | None:
        """The call under its Idempotency-Key, if it has one."""
        if KEY_HEADER not in self.call.headers:
            return None
        try:
            key = key_of(self.call.headers.get(KEY_HEADER, ""))  # the server gives none that is not ASCII
        except BadKey as error:
            raise Refused(self.dialect.faults.malformed, str(error)) from None
        return KeyedCall(key, self.dialect.source, caller, route, self.call, self.body)

    def told(self, answer: Answer) -> Answer:
        """The answer with `fields`, as far as it has not its own; a browser's page may read them."""
        if not self.fields:
            return answer
        has = {name for name, _ in answer.headers}
        fields = [field for field in self.fields if field[0] not in has]
        if self.dialect.preflight:
            fields.append(("access-control-expose-headers", ", ".join(name for name, _ in self.fields)))
        return answer._replace(headers=[*answer.headers, *fields])
