"""The OpenAPI document says what is so: whatever it allows is answered as it says, and what was recorded fits it."""

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from catchment.openapi import document
from tests.conftest import AppOf, Server

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def sender(server: Server, _app_names: Iterator[str]) -> AppOf:
    """One application for all that is sent."""
    return AppOf(server, next(_app_names))


schema = schemathesis.openapi.from_dict(document())


def test_the_console_serves_it_to_anybody(server: Server) -> None:
    answer = server.http.get(server.console + "/openapi.json")
    assert answer.json() == json.loads(json.dumps(document()))


@schema.parametrize()
@hypothesis.settings(max_examples=15, deadline=None)
def test_whatever_the_document_allows_is_answered_as_it_says(case: "schemathesis.Case[Any]", sender: AppOf) -> None:
    keys = sender.moesif_headers | sender.batch_headers | sender.moloco_headers
    own = {"api_key": sender.keys["batch"]["live"], "platform": sender.keys["moloco"]["platform"]}
    case.path_parameters = {name: own.get(name, value) for name, value in (case.path_parameters or {}).items()}
    platform = {"x-platform-id": sender.keys["moloco"]["platform"]}
    case.call_and_validate(base_url=sender.server.ingest, headers=keys | platform, checks=CHECKS, timeout=60)
