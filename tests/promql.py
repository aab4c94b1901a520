"""What an expression of Prometheus comes to, over two scrapes: as much of the language as the alerts want that are
tried. The parser is Prometheus' grammar; whatever it reads and is not known here is an error, never a guess.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import promql_parser as parser
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
_COMPUTED: Mapping[str, Callable[[float, float], float]] = {
    "-": operator.sub,
    "+": operator.add,
    "/": lambda one, other: one / other if other else math.nan,  # which is neither more nor less than anything
}
_NAME = "__name__"


class Scrape:
    """What a target told at one time, `up` beside it, as Prometheus keeps it: 0 where it did not answer."""

    def __init__(self, text: str, at_s: float, *, job: str = "catchment") -> None:
        self.at_s = at_s
        target = ("job", job)
        self.samples: Vector = {frozenset({(_NAME, "up"), target}): float(bool(text))}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.samples[frozenset({(_NAME, sample.name), target, *sample.labels.items()})] = sample.value


def firing(expression: str, before: Scrape, now: Scrape) -> Vector:
    """The series of the result: nothing where the alert does not fire."""
    found = _value(parser.parse(expression), before, now)
    assert isinstance(found, dict), "a number is no condition"
    return found


def _value(node: Any, before: Scrape, now: Scrape) -> Vector | float:
    match node:
        case parser.NumberLiteral():
            return float(node.val)
        case parser.ParenExpr():
            return _value(node.expr, before, now)
        case parser.VectorSelector():
            return _selected(node, now)
        case parser.Call() if node.func.name == "absent":
            return {} if _value(node.args[0], before, now) else {frozenset(): 1.0}
        case parser.Call() if node.func.name == "rate":
            return _rate(node.args[0].vector_selector, before, now)
        case parser.AggregateExpr() if str(node.op) == "sum":
            return _sum(_value(node.expr, before, now), set(node.modifier.labels) if node.modifier else set())
        case parser.BinaryExpr():
            return _combined(node, _value(node.lhs, before, now), _value(node.rhs, before, now))
    raise ValueError(f"no alert of ours used this before, so it is not read yet: {node}")


def _selected(node: Any, scrape: Scrape) -> Vector:
    return {
        labels: value
        for labels, value in scrape.samples.items()
        if dict(labels)[_NAME] == node.name and all(_matches(one, dict(labels)) for one in node.matchers.matchers)
    }


def _matches(matcher: Any, labels: dict[str, str]) -> bool:
    found = labels.get(matcher.name, "")
    match matcher.op:
        case parser.MatchOp.Equal:
            return bool(found == matcher.value)
        case parser.MatchOp.NotEqual:
            return bool(found != matcher.value)
        case parser.MatchOp.Re:
            return bool(re.fullmatch(matcher.value, found))
    raise ValueError(f"no alert of ours used this before, so it is not read yet: {matcher}")


def _rate(selector: Any, before: Scrape, now: Scrape) -> Vector:
    earlier = _selected(selector, before)
    seconds = now.at_s - before.at_s
    return {
        labels - {(_NAME, dict(labels)[_NAME])}: (value - earlier.get(labels, 0.0)) / seconds
        for labels, value in _selected(selector, now).items()
    }


def _sum(vector: Vector | float, by: set[str]) -> Vector:
    assert isinstance(vector, dict)
    sums: Vector = {}
    for labels, value in vector.items():
        group = frozenset(one for one in labels if one[0] in by)
        sums[group] = sums.get(group, 0.0) + value
    return sums


def _combined(node: Any, left: Vector | float, right: Vector | float) -> Vector:
    assert isinstance(left, dict), "a number on the left is not known here"
    word = str(node.op)
    if word == "and":
        assert isinstance(right, dict)
        assert node.modifier
        assert node.modifier.matching.labels == [], "only `and on ()` is known here"
        return left if right else {}
    pairs = {
        labels: (value, right if isinstance(right, float) else right[labels])
        for labels, value in left.items()
        if isinstance(right, float) or labels in right
    }
    if word in _COMPARED:
        return {labels: one for labels, (one, other) in pairs.items() if _COMPARED[word](one, other)}
    return {labels: _COMPUTED[word](one, other) for labels, (one, other) in pairs.items()}
