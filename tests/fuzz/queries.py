"""The target of the guard of SQL: whatever tree the engine's parser gave, what must not run is not let through.

The engine is not asked: an input is the text that it would give back, in one line, and behind it the tree. A tree
that no parser makes may end in any error, which runs nothing.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from catchment.store import functions
from catchment.store.guard import TABLE_FUNCTIONS, RunText, checked
from catchment.store.store import QueryError
from tests.fuzz.target import Target, require

_STARTS = ("SELECT", "WITH", "(", "EXPLAIN")
_UNLIKE_A_TREE = (KeyError, AttributeError, TypeError, StopIteration)


def guarded(data: bytes) -> None:
    """What is let through starts as a query, and names no function or table function that was refused."""
    text, _, tree = data.decode("utf-8", "replace").partition("\n")
    try:
        nodes = list(_nodes(json.loads(tree or "{}")))
    except (ValueError, RecursionError):
        return

    def run(sql: str, parameters: Mapping[str, Any]) -> str:
        require(parameters.keys() == {"query"}, "a query is bound, not pasted")
        return text if "formatQuery" in sql else tree or "{}"

    named = {str(node.get("name")) for node in nodes if node.get("type") == "QueryParameter"}
    values = dict.fromkeys(named, 1)
    try:
        result = checked(text, values, run)
    except (QueryError, *_UNLIKE_A_TREE):
        try:
            result = checked(text, {}, run)  # what has no places: a tree that is no query's names some all the same
        except (QueryError, *_UNLIKE_A_TREE):
            return
    require(not _is_let_through(text, {"without a place": 1}, run), "a value without a place is refused")
    require(result.text.startswith(_STARTS), "it is a query")
    if result.text != text.rstrip("\n"):
        require("\\" not in result.text and result.text.count("'") in (2, 4), "what replaces it is a query of ours")
        return
    require(result.parameters == values, "each place has its value, and nothing else is given")
    for node in nodes:
        if node.get("type") == "Function" and "field_type" not in node:
            name = str(node.get("name")).lower()
            require(name in TABLE_FUNCTIONS or not functions.refuses(name), f"{name} is refused")
        if "type" in node and "field_type" not in node and node["type"] is not None:
            require(node["type"] != "SetQuery" and "settings" not in node, "settings are refused")


def _is_let_through(text: str, parameters: Mapping[str, Any], run: RunText) -> bool:
    try:
        checked(text, parameters, run)
    except QueryError:
        return False
    return True


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(value)


def _seed(*nodes: Any, text: str = "SELECT 1") -> bytes:
    tree = {"type": "SelectWithUnionQuery", "children": [{"type": "SelectQuery", "list": list(nodes)}]}
    return f"{text}\n{json.dumps(tree)}".encode()


_SEEDS = [
    _seed({"type": "Function", "name": name, "arguments": {"children": [{"type": "Identifier", "name": inner}]}})
    for name, inner in (("count", "a"), ("arrayMap", "file"), ("sumIf", "x"), ("sleep", "x"), ("url", "y"))
]
_SEEDS += [
    _seed({"type": "TableExpression", "table_function": {"name": name}}) for name in ("numbers", "file", "NUMBERS")
]
_SEEDS += [
    _seed({"type": "TableIdentifier", "name": ".".join(parts), "name_parts": parts})
    for parts in (["events"], ["catchment", "events"], ["system", "tables"], ["system", "one"], ["other", "x"])
]
_SEEDS += [_seed({"type": "QueryParameter", "name": "p", "param_type": kind}) for kind in ("String", "Identifier")]
_SEEDS += [_seed({"type": "SetQuery"}), _seed({"type": "Literal", "settings": {}}), _seed({"type": "Drop"})]
_SEEDS += [_seed({"type": "Literal", "out_file": 1}), _seed({"type": "WindowDefinition", "func_name": "rank"})]
_SEEDS += [text.encode() for text in ("SHOW TABLES", "DESCRIBE TABLE `events`", "EXPLAIN", "DROP TABLE x", "", " ")]
TARGETS = [Target("queries", guarded, _SEEDS)]
