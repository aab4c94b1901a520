"""`catchment sql --param`: values beside the query, on a running server and on a stopped one."""

import json
from pathlib import Path

import pytest

from catchment.cli.options import WrongArguments, named_values
from tests.conftest import Server, catchment, write_apps

HOSTILE = 'it\'s a "value"; DROP TABLE event_rows -- %(n)s {n:String} \\ é'
VALUE = "SELECT {n:String} AS value"


@pytest.fixture(scope="module", params=["running", "stopped"])
def data_dir(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "running":
        return server.data_dir
    stopped = tmp_path_factory.mktemp("stopped")
    write_apps(stopped, ["default"])
    return stopped


def sql(data_dir: Path, query: str, *params: str) -> dict[str, object]:
    """The one row of the answer."""
    given = [argument for param in params for argument in ("--param", param)]
    row: dict[str, object] = json.loads(catchment("sql", query, *given, "--format", "ndjson", data_dir=data_dir))
    return row


def test_a_value_is_text_as_it_stands_whatever_is_in_it(data_dir: Path) -> None:
    assert sql(data_dir, VALUE, f"n={HOSTILE}") == {"value": HOSTILE}


def test_each_value_has_the_type_of_its_place(data_dir: Path) -> None:
    query = (
        "SELECT {n:Int32} AS n, {since:DateTime} AS since, splitByChar(',', {list:String}) AS list, {empty:String} AS e"
    )
    found = sql(data_dir, query, "n=-5", "since=2026-01-01 00:00:00", "list=a,b", "empty=")
    assert found == {"n": -5, "since": "2026-01-01 00:00:00", "list": ["a", "b"], "e": ""}


def test_one_that_is_missing_is_told_with_what_to_write(data_dir: Path) -> None:
    told = catchment("sql", "SELECT {n:String}, {m:UInt8}", "--param", "n=1", data_dir=data_dir, code=1)
    wanted = (
        "the query has {m:UInt8}, {n:String}, and no value was given for m: give it with `--param m=VALUE`, or over "
    )
    assert told.startswith(wanted)


@pytest.mark.parametrize("query", [VALUE, "SELECT '%(typo)s'", "SHOW TABLES", "DESCRIBE TABLE events"])
def test_one_without_a_place_is_told_and_not_pasted_anywhere(data_dir: Path, query: str) -> None:
    given = ["--param", "typo=1", *(["--param", "n=1"] if query == VALUE else [])]
    told = catchment("sql", query, *given, data_dir=data_dir, code=1)
    assert told.startswith("the query has no place for the parameter 'typo'; ")
    assert ("it has {n:String}" if query == VALUE else "write {typo:String} where the value belongs") in told


def test_one_that_is_not_of_its_type_is_told(data_dir: Path) -> None:
    assert "cannot be parsed as UInt8" in catchment(
        "sql", "SELECT {n:UInt8}", "--param", "n=many", data_dir=data_dir, code=1
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["user"], "write NAME=VALUE for {NAME:Type} in the query, not 'user'"),
        (["=1"], "not '=1'"),
        (["a-b=1"], "not 'a-b=1'"),
        (["n=1", "n=1"], "n was given twice"),
    ],
)
def test_what_is_no_pair_and_what_comes_twice_is_refused(given: list[str], told: str) -> None:
    with pytest.raises(WrongArguments, match=r"^--param: ") as wrong:
        named_values(given)
    assert told in str(wrong.value)
