"""Of a good request with one thing wrong, the answer is known: its code, its type and the place that it names."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catchment.dialects.dialect import Answer
from catchment.errors import Fault, Refused
from tests.dialects.batch_schema import DATES, EVENTS, PLAIN, TIMES, USERS, WORDS
from tests.dialects.test_batch import BATCH, BULK, MALFORMED, MISSING, SINGLE, deliver

Draw = Callable[[st.SearchStrategy[Any]], Any]
Prediction = tuple[Fault, str] | None  # None: it is accepted

FULL_EVENTS = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"ue\.[A-Za-z0-9_]{1,64}", fullmatch=True),
        "time": TIMES,
        "label": WORDS,
        "attributes": st.builds(
            lambda plain, dates: {"plain": 1, **plain, "date(day)": 5, **dates},
            PLAIN.map(lambda plain: dict(list(plain.items())[:6])),
            DATES.map(lambda dates: dict(list(dates.items())[:6])),
        ),
        "tags": st.lists(WORDS, min_size=1, max_size=9),
    }
)
TYPES: dict[str, type] = {"name": str, "time": str, "label": str, "attributes": dict, "tags": list}
OTHERS = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
OF_ANY_TYPE: st.SearchStrategy[Any] = OTHERS | st.just([]) | st.just({})
MEMBERS = st.sampled_from(sorted(TYPES))


def another_type(draw: Draw, wanted: type) -> Any:
    value = draw(OF_ANY_TYPE)
    assume(type(value) is not wanted)
    return value


def without(event: dict[str, Any], name: str) -> Prediction:
    del event[name]
    return (MISSING, ".name") if name == "name" else None


def drop(draw: Draw, event: dict[str, Any]) -> Prediction:
    return without(event, draw(MEMBERS))


def set_to_null(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(MEMBERS)
    event[name] = None
    return (MISSING, ".name") if name == "name" else None


def rename(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(MEMBERS)
    event[draw(st.sampled_from([name.upper(), name + "s_", " " + name]))] = event[name]
    return without(event, name)


def retype(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(MEMBERS)
    event[name] = another_type(draw, TYPES[name])
    return MALFORMED, f".{name}"


def overflow(draw: Draw, event: dict[str, Any]) -> Prediction:
    name = draw(MEMBERS)
    longer: dict[str, Any] = {
        "name": "ue." + "n" * 65,
        "time": "2200-01-01T00:00:00",
        "label": "l" * 201,
        "attributes": {f"a{number}": number for number in range(16)},
        "tags": ["t"] * 11,
    }
    event[name] = longer[name]
    return MALFORMED, f".{name}"


def spoil_a_tag(draw: Draw, event: dict[str, Any]) -> Prediction:
    place = draw(st.integers(0, len(event["tags"]) - 1))
    event["tags"][place] = draw(st.sampled_from(["", " ", "t" * 65, 5, None, ["t"]]))
    return MALFORMED, f".tags[{place}]"


def spoil_an_attribute(draw: Draw, event: dict[str, Any]) -> Prediction:
    key = draw(st.sampled_from(sorted(event["attributes"])))
    wrong: list[Any] = (
        [None, [], {}, "x" * 65, 2**63] if "(" not in key else [None, [], True, 1.5, "soon", -1, 7258118400]
    )
    event["attributes"][key] = draw(st.sampled_from(wrong))
    return MALFORMED, f".attributes{f'[{key!r}]' if '(' in key else f'.{key}'}"


def rename_an_attribute(draw: Draw, event: dict[str, Any]) -> Prediction:
    name, place = draw(
        st.sampled_from([("Plain", ".Plain"), ("a-b", "['a-b']"), ("x" * 31, "." + "x" * 31), ("url(x)", "['url(x)']")])
    )
    event["attributes"][name] = event["attributes"].pop("plain")
    return MALFORMED, f".attributes{place}"


def give_an_attribute_twice(draw: Draw, event: dict[str, Any]) -> Prediction:
    first, second = draw(st.permutations(["twice", "date(twice)"]))
    event["attributes"] = {first: 1, second: 1}
    return MALFORMED, ".attributes" + (f"[{second!r}]" if "(" in second else f".{second}")


def add_what_is_not_known(draw: Draw, event: dict[str, Any]) -> Prediction:
    event[draw(st.sampled_from(["id", "Name", "$label", "überflüssig"]))] = draw(OF_ANY_TYPE)
    return None


MUTATIONS = (
    drop, set_to_null, rename, retype, overflow, spoil_a_tag, spoil_an_attribute, rename_an_attribute,
    give_an_attribute_twice, add_what_is_not_known,
)  # fmt: skip


def check(body: Any, path: str, prediction: Prediction) -> None:
    try:
        deliver(json.dumps(body).encode(), path)
    except Refused as refused:
        found: Prediction = (refused.fault, refused.path)
        answer: Answer | None = BATCH.refuse(refused)
    else:
        found, answer = None, None
    assert found == prediction
    if prediction and answer:
        fault, place = prediction
        error = json.loads(answer.body)
        assert (answer.status, error["code"], error["type"]) == fault
        assert error["message"].startswith(place.removeprefix("$").removeprefix(".") or "body")


@settings(deadline=None, max_examples=400)
@given(st.data(), st.lists(EVENTS, max_size=2), FULL_EVENTS, st.sampled_from(MUTATIONS))
def test_an_event_with_one_thing_wrong_is_refused_for_that(
    data: st.DataObject, before: list[Any], event: dict[str, Any], mutate: Callable[[Draw, Any], Prediction]
) -> None:
    predicted = mutate(data.draw, event)
    events = [*before, event]
    fault, place = predicted or (None, "")
    within = f".events[{len(before)}]{place}"
    check({"events": events}, SINGLE, (fault, "$" + within) if fault else None)
    users = [{"id": "first", "events": [{"name": "ue.x"}]}, {"id": "second", "events": events}]
    check(users, BULK, (fault, "$[1]" + within) if fault else None)


@settings(deadline=None)
@given(USERS, st.data())
def test_a_user_with_one_thing_wrong_is_refused_for_that(drawn: Any, data: st.DataObject) -> None:
    users: list[Any] = [{"id": id, "events": events} for id, events in drawn]
    place = data.draw(st.integers(0, len(users) - 1))
    path = f"$[{place}]"
    many = [{"name": "ue.x"}] * 1001
    wrong: list[tuple[Any, Prediction]] = [
        ({"events": many[:1]}, (MISSING, f"{path}.id")),
        ({"id": "v"}, (MISSING, f"{path}.events")),
        ({"ID": "v", "events": many[:1]}, (MISSING, f"{path}.id")),
        ({"id": None, "events": many[:1]}, (MISSING, f"{path}.id")),
        ({"id": "v", "events": None}, (MISSING, f"{path}.events")),
        ({"id": 5, "events": many[:1]}, (MALFORMED, f"{path}.id")),
        ({"id": "x" * 1025, "events": many[:1]}, (MALFORMED, f"{path}.id")),
        ({"id": " ", "events": many[:1]}, (MALFORMED, f"{path}.id")),
        ({"id": "v", "events": many}, (MALFORMED, f"{path}.events")),
        ({"id": "v", "events": []}, (MALFORMED, f"{path}.events")),
        ({"id": "v", "events": {}}, (MALFORMED, f"{path}.events")),
        ({"id": "v", "events": [5]}, (MALFORMED, f"{path}.events[0]")),
        ([], (MALFORMED, path)),
        ({"id": "v", "events": many[:1], "extra": 1}, None),
    ]
    users[place], prediction = data.draw(st.sampled_from(wrong))
    check(users, BULK, prediction)


@settings(deadline=None)
@given(OF_ANY_TYPE)
def test_a_body_of_another_type_is_refused_as_a_whole(body: Any) -> None:
    check(body, SINGLE, (MISSING, "$.events") if body == {} else (MALFORMED, "$"))
    check(body, BULK, (MALFORMED, "$"))
