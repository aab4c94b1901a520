"""From a request line to the dialect that answers it: literals first, then patterns, then whose fault it is."""

from collections.abc import Sequence
from typing import NamedTuple

from catchment.dialects.dialect import Dialect, Headers, Route
from catchment.errors import Fault

_PATH_CHARS_MAX = 8192


class Match(NamedTuple):
    """The dialect to answer in; `route` is None where `fault` says why there is none. A `stray` call is nobody's: its
    path is of no vendor, and it brought no vendor's key."""

    dialect: Dialect
    route: Route | None
    parameters: dict[str, str]
    fault: Fault | None
    stray: bool = False


class Router:
    """Finds the route of a path. Every path belongs to some dialect, so every fault has a vendor's form: the dialect
    that first says so, else the one whose key header came along, else the last."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = dialects
        self._literals = {
            (route.method, literal): Match(dialect, route, {}, None)
            for dialect in dialects
            for route in dialect.routes
            for literal in route.literals
        }

    def resolve(self, method: str, path: str, headers: Headers) -> Match:
        """Where the path is known but not the method, the fault says so; the parameters are there in any case."""
        literal = self._literals.get((method, path))
        if literal is not None:
            return literal
        owner, stray = self._owner(path[:_PATH_CHARS_MAX], headers)
        if stray or len(path) > _PATH_CHARS_MAX:
            return Match(owner, None, {}, owner.faults.not_found, stray)
        known: Match | None = None
        for route in owner.routes:
            found = route.pattern.match(path)
            if found is None:
                continue
            if route.method == method:
                return Match(owner, route, found.groupdict(), None)
            known = Match(owner, None, found.groupdict(), owner.faults.wrong_method)
        return known or Match(owner, None, {}, owner.faults.not_found)

    def told(self, path: str) -> str:
        """The path without keys of any vendor: one that was misspelt may not be the dialect's that answers it."""
        for dialect in self._dialects:
            path = dialect.conceal_path(path)
        return path

    def _owner(self, path: str, headers: Headers) -> tuple[Dialect, bool]:
        """In whose form to answer, and whether the call is a stray one."""
        for dialect in self._dialects:
            if dialect.owns.match(path):
                return dialect, False
        for dialect in self._dialects:
            if headers.get(dialect.key_header) is not None:
                return dialect, False
        return self._dialects[-1], True
