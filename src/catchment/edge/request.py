"""What is known of a request so far: for its answer, and for the rejection that it may become."""

from catchment.dialects.dialect import Answer, Call, Caller, Dialect, Headers, Route
from catchment.edge.body import BadEncoding, Source, TooLarge, decompress, read_body
from catchment.edge.idempotency import KEY_HEADER, BadKey, KeyedCall, key_of
from catchment.edge.observer import Sight
from catchment.errors import Refused

DRAINED_BYTES_MAX = 64 * 1024


class Request:
    """One call and its dialect. `caller` is None until the key was understood, `body` empty until it was read, and
    `fields` are header fields that its answer gets, whatever that is."""

    def __init__(self, dialect: Dialect, call: Call, sight: Sight) -> None:
        self.sight = sight
        self.dialect = dialect
        self.call = call
        self.caller: Caller | None = None
        self.body = b""
        self.was_read = False
        self.fields: list[tuple[str, str]] = []

    async def read(self, route: Route, source: Source) -> None:
        """The body, without its encoding. Of one that cannot be decompressed, what was sent stays."""
        faults, headers = self.dialect.faults, self.call.headers
        self.was_read = True
        try:
            self.body = body = await read_body(source, headers, route.body_bytes_max)
            encoding = headers.get("content-encoding")
            if encoding:
                self.body = decompress(body, encoding, route.body_bytes_max)
        except TooLarge:
            reason = f"body is larger than {route.body_bytes_max} bytes, counted without compression"
            raise Refused(faults.too_large, reason) from None
        except BadEncoding as error:
            raise Refused(faults.malformed, str(error)) from None

    async def drain(self, source: Source) -> None:
        """Reads a small body of a request that was refused without it: an answer before the body has come ends the
        connection, and with it maybe the answer."""
        if self.was_read or self.call.method == "GET" or "expect" in self.call.headers:
            return
        self.was_read = True
        if _declared_bytes(self.call.headers) <= DRAINED_BYTES_MAX:
            await source()

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


def _declared_bytes(headers: Headers) -> int:
    """What the Content-Length says; nothing is as good as too much."""
    declared = headers.get("content-length") or ""
    return int(declared) if declared.isdecimal() else DRAINED_BYTES_MAX + 1
