"""A refused body as a person reads it: pretty-printed, the fault marked, long bodies cut around it. Pure.

The fault's JSON path comes from the dialect (`$.events[0].name`). Where the last step is a member that is not there,
its object is marked. A body that is no JSON is shown as text around the byte that the reason names, or else around the
place where Python's own reader stops.
"""

import ast
import json
import re
from typing import Any, NamedTuple

CONTEXT_LINES = 8
LINES_MAX = 40  # of a body whose fault has no place
VALUE_CHARS_MAX = 100
TEXT_CHARS_AROUND = 60
_INDENT = 2

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\]")
_BYTE = re.compile(r"\(byte (\d+)\)")


class Line(NamedTuple):
    """A line, and the characters of it that are the fault. A gap stands for lines left out."""

    text: str
    marked: tuple[int, int] | None = None
    gap: bool = False


class Excerpt(NamedTuple):
    """The lines to show; `reason` belongs below the marked one, if there is one."""

    lines: list[Line]
    reason: str


class _Number(str):
    """A number as it was written."""


class _Members(list[tuple[str, Any]]):
    """An object: its members in the order sent, also those that come twice."""


def excerpt(body: str, path: str, reason: str, *, whole: bool = True) -> Excerpt:
    """`whole` says that the body is byte for byte the one that was refused, so that a byte in the reason is one of
    it."""
    try:
        document = json.loads(
            body, object_pairs_hook=_Members, parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
        place, missing = _found(document, path)
        told = f"{missing}: {reason}" if missing and missing not in reason else reason
        return Excerpt(_cut(_Printer(place).lines_of(document)), told)
    except json.JSONDecodeError as error:
        return Excerpt(_text_lines(body, _place(body, reason, error.pos, whole=whole)), reason)
    except RecursionError:
        return Excerpt(_text_lines(body, 0), reason)


def pretty(body: str) -> list[str]:
    """The lines of a body, for comparing; a body that is no JSON as it is."""
    try:
        document = json.loads(
            body, object_pairs_hook=_Members, parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
        return [line.text for line in _Printer(None, cut=False).lines_of(document)]
    except (json.JSONDecodeError, RecursionError):
        return body.splitlines()


def steps(path: str) -> list[str | int]:
    """`$.events[0]['a b']` as `["events", 0, "a b"]`; a step that cannot be read ends it."""
    found: list[str | int] = []
    position = 1
    while match := _STEP.match(path, position):
        name, index, quoted = match.groups()
        found.append(name if name else int(index) if index else ast.literal_eval(quoted))
        position = match.end()
    return found


def _found(document: Any, path: str) -> tuple[tuple[int, ...] | None, str | None]:
    """Which child of which child the path leads to, and the name of a member that is not there. None for no place."""
    if not path.startswith("$"):
        return None, None
    place: list[int] = []
    value = document
    for step in steps(path):
        if isinstance(step, int):
            if not isinstance(value, list) or isinstance(value, _Members) or step >= len(value):
                break
            place.append(step)
            value = value[step]
            continue
        index = _member(value, step) if isinstance(value, _Members) else None
        if index is None:
            return tuple(place), step
        place.append(index)
        value = value[index][1]
    return tuple(place), None


def _member(members: _Members, name: str) -> int | None:
    """The last member of that name; some clients write names in camelCase, and a long name is cut in a path."""
    camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
    for wanted in (name, camel):
        for index in reversed(range(len(members))):
            if members[index][0] == wanted:
                return index
    return next((index for index, (key, _) in enumerate(members) if len(name) >= 64 and key.startswith(name)), None)


class _Printer:
    """Prints a document as lines and marks the value at a place; values are cut unless `cut` is False."""

    def __init__(self, place: tuple[int, ...] | None, *, cut: bool = True) -> None:
        self._place = place
        self._cut = cut
        self._lines: list[Line] = []

    def lines_of(self, document: Any) -> list[Line]:
        self._print(document, "", "", (), 0)
        return self._lines

    def _print(self, value: Any, before: str, after: str, place: tuple[int, ...], depth: int) -> None:
        """`before` is the member's name, `after` the comma."""
        margin = " " * (_INDENT * depth)
        is_fault = place == self._place
        if not isinstance(value, list) or not value:
            text = "{}" if isinstance(value, _Members) else "[]" if isinstance(value, list) else self._literal(value)
            self._add(margin, before + text, after, is_fault=is_fault)
            return
        opening, closing = ("{", "}") if isinstance(value, _Members) else ("[", "]")
        self._add(margin, before + opening, "", is_fault=is_fault)
        for index, child in enumerate(value):
            comma = "," if index < len(value) - 1 else ""
            if isinstance(value, _Members):
                key, inner = child
                self._print(inner, f"{self._literal(key)}: ", comma, (*place, index), depth + 1)
            else:
                self._print(child, "", comma, (*place, index), depth + 1)
        self._add(margin, closing, after, is_fault=False)

    def _add(self, margin: str, text: str, after: str, *, is_fault: bool) -> None:
        marked = (len(margin), len(margin) + len(text)) if is_fault else None
        self._lines.append(Line(margin + text + after, marked))

    def _literal(self, value: Any) -> str:
        text = str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)
        if not self._cut or len(text) <= VALUE_CHARS_MAX:
            return text
        return f"{text[:VALUE_CHARS_MAX]}… ({len(text)} characters)"


def _cut(lines: list[Line]) -> list[Line]:
    """The lines around the marked one and those that open the values around it; or the first ones."""
    fault = next((number for number, line in enumerate(lines) if line.marked), None)
    if fault is None:
        shown = set(range(LINES_MAX))
    else:
        shown = set(range(fault - CONTEXT_LINES, fault + CONTEXT_LINES + 1)) | _openings(lines, fault)
    shown |= {number for number in range(1, len(lines) - 1) if {number - 1, number + 1} <= shown}  # no gap of one line
    if lines and len(lines) - 2 in shown:
        shown.add(len(lines) - 1)
    found: list[Line] = []
    left_out = 0
    for number, line in enumerate(lines):
        if number in shown:
            found += [Line(f"… {left_out} lines", gap=True)] * bool(left_out) + [line]
            left_out = 0
        else:
            left_out += 1
    return found + [Line(f"… {left_out} lines", gap=True)] * bool(left_out)


def _openings(lines: list[Line], fault: int) -> set[int]:
    """Going up, every line that is indented less than all below it opens a value around the fault."""
    found = set()
    margin = _margin(lines[fault])
    for number in range(fault - 1, -1, -1):
        if _margin(lines[number]) < margin:
            margin = _margin(lines[number])
            found.add(number)
    return found


def _margin(line: Line) -> int:
    return len(line.text) - len(line.text.lstrip(" "))


def _place(body: str, reason: str, position: int, *, whole: bool) -> int:
    """The character at fault."""
    byte = _BYTE.search(reason)
    if byte and whole:
        return len(body.encode(errors="replace")[: int(byte[1])].decode(errors="replace"))
    return position


def _text_lines(body: str, position: int) -> list[Line]:
    """Two lines before the one at fault, that one around the place, and two after it."""
    position = min(position, len(body))
    start = body.rfind("\n", 0, position) + 1
    end = body.find("\n", position)
    end = len(body) if end < 0 else end
    begin, stop = max(start, position - TEXT_CHARS_AROUND), min(end, position + TEXT_CHARS_AROUND)
    lead, tail = "…" if begin > start else "", "…" if stop < end else ""
    column = len(lead) + position - begin
    fault = Line(lead + body[begin:stop] + tail, (column, column + 1))
    around = 2 * TEXT_CHARS_AROUND
    above = [Line(line[:around]) for line in body[:start].splitlines()[-2:]]
    below = [Line(line[:around]) for line in body[end:].splitlines()[1:3]]
    return [*above, fault, *below]
