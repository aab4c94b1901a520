"""Read-only by construction: a query is taken apart by the engine's own parser before it runs, and only what is named
here passes.

The engine's `readonly` mode refuses writes, but an embedded engine would still read files (`file('/etc/passwd')`) and
write them (`INTO OUTFILE`). So the text is first normalised by `formatQuery`, which takes one statement only; then
`EXPLAIN AST` lists what it is made of. Both are the parser that will run the query: there is no second opinion to
differ. What remains runs on a `readonly` handle all the same.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from catchment.store.store import QueryError

DATABASE = "catchment"
STATEMENTS = frozenset({"SelectWithUnionQuery", "SelectIntersectExceptQuery", "DescribeQuery", "ShowTables", "Explain"})
TABLE_FUNCTIONS = frozenset({"numbers", "numbers_mt", "zeros", "generate_series", "generateseries", "values", "view"})
SYSTEM_TABLES = frozenset(
    {"one", "numbers", "tables", "columns", "functions", "parts", "settings", "data_type_families"}
)
DATABASES = frozenset({DATABASE, "information_schema"})
# Functions that reach files, other servers, other processes or the engine's own state, or that only burn time.
FUNCTIONS_REFUSED = frozenset(
    {
        "file",
        "filesystemavailable",
        "filesystemcapacity",
        "filesystemunreserved",
        "catboostevaluate",
        "joinget",
        "joingetornull",
        "sleep",
        "sleepeachrow",
        "getserversetting",
        "getclienthttpheader",
        "showcertificate",
        "addresstoline",
        "addresstolinewithinlines",
        "addresstosymbol",
        "demangle",
        "hostname",
        "fqdn",
        "displayname",
        "tcpport",
        "serveruuid",
        "zookeepersessionuptime",
        "evalmlmethod",
        "naturalsortkeysecret",
    }
)
FUNCTION_PREFIXES_REFUSED = ("dict", "ai", "embed")

_NODE = re.compile(r"^(?P<indent> *)(?P<type>\w+) ?(?P<rest>.*)$")
_ALIAS_AND_CHILDREN = re.compile(r"(?: \(alias .*?\))?(?: \(children \d+\))?$")

RunText = Callable[[str, Mapping[str, Any]], str]


def checked(sql: str, parameters: Mapping[str, Any], run: RunText) -> str:
    """The normalised text of an allowed query. `run` executes a helper query and gives its plain text.

    Raises `QueryError` with what is not allowed, or the engine's own message for a syntax error.
    """
    if not sql.strip():
        raise QueryError("the query is empty")
    # EXPLAIN itself gets no FORMAT clause: it would be taken for the query's own.
    text = run("SELECT formatQuery({query:String}) FORMAT TSVRaw", {"query": sql}).rstrip("\n")
    if re.match(
        r"(INSERT|CREATE|ALTER|DROP|TRUNCATE|RENAME|DELETE|UPDATE|OPTIMIZE|SYSTEM|KILL|GRANT|REVOKE|SET|USE|"
        r"ATTACH|DETACH|EXCHANGE|UNDROP|BACKUP|RESTORE|EXECUTE|MOVE|CHECK|WATCH|BEGIN|COMMIT|ROLLBACK)\b",
        text,
        re.I,
    ):
        raise QueryError(f"only SELECT, DESCRIBE, SHOW TABLES and EXPLAIN are allowed here, not {text.split()[0]}")
    _check_tree(run(f"EXPLAIN AST {text}", parameters))
    return text


def _check_tree(tree: str) -> None:
    """Every node of `EXPLAIN AST` in turn; a node is a line, its depth the indent."""
    lines = [match for line in tree.split("\n") if (match := _NODE.match(line))]
    if not lines or lines[0]["type"] not in STATEMENTS:
        raise QueryError("only SELECT, DESCRIBE, SHOW TABLES and EXPLAIN are allowed here")
    parents: list[str] = []
    for line in lines:
        depth = len(line["indent"])
        parent = parents[depth - 1] if depth else ""
        parents[depth:] = [line["type"]]
        rest = _ALIAS_AND_CHILDREN.sub("", " " + line["rest"]).strip()
        _check_node(line["type"], rest, parent)


def _check_node(kind: str, rest: str, parent: str) -> None:
    if parent == "SelectWithUnionQuery" and kind in ("Literal", "Identifier"):
        raise QueryError(
            "INTO OUTFILE and FORMAT are not allowed here; choose the format of the answer by its own option"
        )
    if kind == "Set":
        raise QueryError("SETTINGS are not allowed here; the bounds of a query are in the configuration (`sql`)")
    if kind == "TableIdentifier":
        _check_table(rest)
    if kind == "Function":
        name = rest.lower()
        if parent == "TableExpression":
            if name not in TABLE_FUNCTIONS:
                raise QueryError(
                    f"the table function {rest}() is not allowed here: queries reach the store's own tables only"
                )
        elif name in FUNCTIONS_REFUSED or name.startswith(FUNCTION_PREFIXES_REFUSED):
            raise QueryError(f"the function {rest}() is not allowed here")


def _check_table(name: str) -> None:
    database, dot, table = name.rpartition(".")
    if not dot:
        return
    lower = database.strip("`").lower()
    if lower in DATABASES or (lower == "system" and table.strip("`").lower() in SYSTEM_TABLES):
        return
    raise QueryError(f"the table {name} is not allowed here; the store's own are in the database {DATABASE}")
