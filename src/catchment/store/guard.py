"""Read-only by construction: a query is taken apart by the engine's own parser before it runs, and only what is named
here passes.

The engine's `readonly` mode refuses writes, but an embedded engine would still read files (`file('/etc/passwd')`) and
write them (`INTO OUTFILE`). So the text is first normalised by `formatQuery`, which takes one statement only; then
`parseQueryToJSON` gives its tree. Both are the parser that will run the query: there is no second opinion to differ.
What remains runs on a `readonly` handle all the same (docs/decisions/0004).
"""

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from catchment.store import functions
from catchment.store.store import QueryError

DATABASE = "catchment"
# `DESCRIBE` and `SHOW TABLES` do not run: they are answered from these, which the tree can be checked of.
_DESCRIBE = re.compile(rf"^DESCRIBE TABLE (?:{DATABASE}\.)?`?(\w+)`?$")
_DESCRIPTION = f"SELECT name, type FROM system.columns WHERE database = '{DATABASE}' AND table = '%s' ORDER BY position"
_SHOW_TABLES = f"SELECT name FROM system.tables WHERE database = '{DATABASE}' AND name NOT LIKE 'log%' ORDER BY name"

NODES = frozenset(
    """Select SelectQuery SelectWithUnionQuery SelectIntersectExceptQuery ExpressionList Identifier TableIdentifier
    Function Literal Asterisk QualifiedAsterisk Subquery TablesInSelectQuery TablesInSelectQueryElement TableExpression
    TableJoin ArrayJoin WithElement OrderByElement InterpolateElement QueryParameter SampleRatio DataType
    TupleDataType NameTypePair""".split()
)
NODE_PREFIXES = ("Columns", "QualifiedColumns", "Window")
TABLE_FUNCTIONS = frozenset({"numbers", "numbers_mt", "zeros", "generate_series", "generateseries", "values", "view"})
SYSTEM_TABLES = frozenset({"one", "numbers", "columns", "functions"})  # `tables` tells paths of the disk
DATABASES = frozenset({DATABASE, "information_schema"})
# An identifier in the first place of these may be the name of a function.
_HIGHER_ORDER = ("array", "map")
_OUTPUT_MEMBERS = ("out_file", "format_ast", "compression", "compression_level")

RunText = Callable[[str, Mapping[str, Any]], str]


class Checked(NamedTuple):
    """An allowed query: its normalised text, and a value for each of its places. `described` is the table of a
    `DESCRIBE`, which has no rows where there is no such table."""

    text: str
    parameters: dict[str, Any]
    described: str = ""


def checked(sql: str, parameters: Mapping[str, Any], run: RunText) -> Checked:
    """`run` executes a helper query and gives its plain text.

    Raises `QueryError` with what is not allowed, or the engine's own message for a syntax error.
    """
    if not sql.strip():
        raise QueryError("the query is empty")
    text = run("SELECT formatQuery({query:String}) FORMAT TSVRaw", {"query": sql}).rstrip("\n")
    if described := _DESCRIBE.match(text):
        return Checked(_DESCRIPTION % described[1], _fitting(parameters, {}), described[1])
    if text == "SHOW TABLES":
        return Checked(_SHOW_TABLES, _fitting(parameters, {}))
    explained = text.removeprefix("EXPLAIN\n")
    if not explained.startswith(("SELECT", "WITH", "(")):
        words = " ".join(explained.split()[:1])
        raise QueryError(f"only SELECT, EXPLAIN SELECT, DESCRIBE TABLE and SHOW TABLES are allowed here, not {words}")
    tree = json.loads(run("SELECT parseQueryToJSON({query:String}) FORMAT TSVRaw", {"query": explained}))
    wanted: dict[str, str] = {}
    for node in _nodes(tree):
        _check(node)
        if node.get("type") == "QueryParameter":
            wanted[str(node.get("name"))] = str(node.get("param_type"))
    return Checked(text, _fitting(parameters, dict(sorted(wanted.items()))))


def _fitting(parameters: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, Any]:
    """The parameters, which are those that the query has places for; `wanted` has their types. Raises `QueryError`.

    Without a place for it, the driver would paste a value into the text by itself, so it never gets one."""
    places = ", ".join(f"{{{name}:{kind}}}" for name, kind in wanted.items())
    if missing := [name for name in wanted if name not in parameters]:
        how = f"`--param {missing[0]}=VALUE`, or over HTTP in `parameters`"
        raise QueryError(f"the query has {places}, and no value was given for {', '.join(missing)}: give it with {how}")
    if unknown := [name for name in parameters if name not in wanted]:
        has = f"it has {places}" if places else f"write {{{unknown[0][:100]}:String}} where the value belongs"
        raise QueryError(f"the query has no place for the parameter {unknown[0][:100]!r}; {has}")
    return dict(parameters)


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree."""
    pending = [tree]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _check(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if kind is None or "field_type" in node:
        return
    if kind == "SetQuery" or "settings" in node:
        raise QueryError("SETTINGS are not allowed here; the bounds of a query are in the configuration (`sql`)")
    if kind not in NODES and not str(kind).startswith(NODE_PREFIXES):
        raise QueryError(f"{kind} is not allowed here: queries only read")
    if any(member in node for member in _OUTPUT_MEMBERS):
        raise QueryError("INTO OUTFILE and FORMAT are not allowed here; the answer's format is an option of its own")
    if kind == "QueryParameter" and node.get("param_type") == "Identifier":
        raise QueryError("parameters stand for values, not for names")
    if function := node.get("table_function"):
        _check_table_function(str(function.get("name")))
    elif kind == "TableExpression":
        return
    if kind in ("TableIdentifier", "Identifier"):
        _check_name(node)
    if kind == "Function":
        _check_call(node)
    if "func_name" in node:
        _check_function(str(node["func_name"]))


def _check_table_function(name: str) -> None:
    if name.lower() not in TABLE_FUNCTIONS:
        raise QueryError(f"the table function {name}() is not allowed here: queries reach the store's own tables only")


def _check_call(node: dict[str, Any]) -> None:
    name = str(node.get("name"))
    if name.lower() not in TABLE_FUNCTIONS:
        _check_function(name)
    if name.lower().startswith(_HIGHER_ORDER):
        first: dict[str, Any] = next(iter((node.get("arguments") or {}).get("children") or ()), {})
        if first.get("type") == "Identifier" and functions.refuses(str(first.get("name"))):
            _check_function(str(first.get("name")))


def _check_function(name: str) -> None:
    if functions.allows(name):
        return
    close = [] if functions.refuses(name) else difflib.get_close_matches(name.lower(), functions.names("allowed"), 1)
    hint = f"; did you mean {close[0]}()?" if close else ""
    raise QueryError(f"the function {name}() is not allowed here{hint}")


def _check_name(node: dict[str, Any]) -> None:
    """Tables, and columns: the right side of IN may name a table."""
    parts = [str(part).lower() for part in node.get("name_parts") or [node.get("name", "")]]
    database = parts[0]
    if len(parts) == 1:
        return
    if database == "system" and parts[1] not in SYSTEM_TABLES:
        raise QueryError(f"the table {node['name']} is not allowed here; the store's own are in {DATABASE}")
    if node["type"] == "TableIdentifier" and database not in DATABASES and database != "system":
        raise QueryError(f"the table {node['name']} is not allowed here; the store's own are in {DATABASE}")
