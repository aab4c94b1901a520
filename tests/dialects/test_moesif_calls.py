"""Moesif's dialect from the outside: paths, keys, what an application takes, what an answer may be, and errors.

Numbers are those of the checklist in contracts/moesif.md, section 6.
"""

import json
import re
from typing import Any

import pytest

from catchment.dialects.dialect import Answer
from catchment.edge.routing import Router
from catchment.errors import Refused
from catchment.settings import MOESIF_RESOURCES
from tests.dialects.moesif_calls import (
    ACTION,
    CALL,
    ELEMENTS,
    ID,
    MOESIF,
    OTHER_ID,
    SUBSCRIPTION,
    call,
    events,
    fault,
    moesif,
    payload_text,
    refusal,
)

PATHS = [*(f"/v1/{resource}" for resource in ELEMENTS), *(f"/v1/{resource}/batch" for resource in ELEMENTS)]


def body_for(path: str) -> Any:
    element = ELEMENTS[path.split("/")[2]]
    return [element, element] if path.endswith("/batch") else element


@pytest.mark.parametrize("path", PATHS)
def test_1_every_accepted_post_is_answered_201_with_json_and_cors(path: str) -> None:
    decoded = call(path, body_for(path))
    assert (decoded.answer.status, decoded.answer.body) == (201, b"{}")
    headers = dict(decoded.answer.headers)
    assert (headers["content-type"], headers["access-control-allow-origin"]) == ("application/json", "*")
    assert len(decoded.records) == (2 if path.endswith("/batch") else 1)
    assert {(record.app, record.source) for record in decoded.records} == {("shop", "moesif")}


@pytest.mark.parametrize("path", [path for path in PATHS if path.endswith("/batch")])
def test_an_empty_batch_is_accepted(path: str) -> None:
    assert call(path, []).records == []


@pytest.mark.parametrize("prefix", ["/collector", "/a/b", "/", "//x/"])
@pytest.mark.parametrize("path", [*PATHS, "/v1/config", "/v1/rules", "/health/probe"])
def test_27_a_base_url_may_have_a_prefix_and_doubled_slashes(prefix: str, path: str) -> None:
    spelled = prefix + path.replace("/", "//") + "/"
    method = "POST" if path in PATHS else "GET"
    match = Router([MOESIF]).resolve(method, spelled, {})
    assert match.route is not None
    assert match.route == Router([MOESIF]).resolve(method, path, {}).route
    assert MOESIF.owns.match(spelled)


def test_other_paths_and_methods_are_refused() -> None:
    faults = {path: Router([MOESIF]).resolve("POST", path, {}).fault for path in ("/v1/nothing", "/health/probing")}
    assert [found.status if found else None for found in faults.values()] == [404, 404]
    for method, path in (("GET", "/v1/actions"), ("POST", "/v1/config"), ("POST", "/v1/rules"), ("PUT", "/v1/users")):
        found = Router([MOESIF]).resolve(method, path, {}).fault
        assert found is not None
        assert found.status == 405
    assert not MOESIF.owns.match("/health/live")


@pytest.mark.parametrize(("key", "app"), [(ID, "shop"), ("another", "shop"), (OTHER_ID, "other")])
def test_7_the_application_id_alone_leads_to_the_application(key: str, app: str) -> None:
    assert call("/v1/actions", ACTION, key=key).records[0].app == app


@pytest.mark.parametrize("key", [None, "", "nobody"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/actions"), ("GET", "/v1/config"), ("GET", "/v1/rules")])
def test_7_without_a_known_one_the_answer_is_401(key: str | None, method: str, path: str) -> None:
    refused = refusal(path, ACTION, method=method, key=key)
    assert (refused.fault.status, refused.fault.code) == (401, "unauthorized")
    assert "catchment keys" in refused.reason


def test_28_the_health_probe_needs_no_key() -> None:
    answer = call("/health/probe", method="GET", key=None).answer
    assert answer.status == 200
    body = json.loads(answer.body)
    assert body["status"] is True
    assert isinstance(body["region"], str)
    assert body["region"]


def test_only_the_health_probe_is_open() -> None:
    assert [route.endpoint for route in MOESIF.routes if route.open] == ["probe"]


def test_12_a_preflight_allows_what_browsers_send() -> None:
    assert MOESIF.preflight is not None
    headers = dict(MOESIF.preflight.headers)
    assert headers["access-control-allow-origin"] == "*"
    assert {"POST", "GET"} <= set(headers["access-control-allow-methods"].split(", "))
    allowed = set(headers["access-control-allow-headers"].split(", "))
    assert {"content-type", "x-moesif-application-id", "x-moesif-sdk", "if-none-match", "idempotency-key"} <= allowed


def test_an_error_has_a_code_a_message_that_names_the_place_and_cors() -> None:
    answer = MOESIF.refuse(refusal("/v1/actions/batch", [ACTION, {"action_name": 5, "request": {}}]))
    assert answer == Answer(
        400,
        [("content-type", "application/json"), ("access-control-allow-origin", "*")],
        b'{"moesif_error":{"code":"invalid_field","msg":"Expected `str | null`, got `int` - at `$[1].action_name`"}}',
    )


class TestResources:
    @pytest.mark.parametrize("resource", MOESIF_RESOURCES)
    def test_an_application_takes_all_of_them_by_default(self, resource: str) -> None:
        assert len(call(f"/v1/{resource}", ELEMENTS[resource]).records) == 1

    @pytest.mark.parametrize("batch", ["", "/batch"])
    @pytest.mark.parametrize("resource", MOESIF_RESOURCES)
    def test_what_it_does_not_take_is_refused_with_403(self, resource: str, batch: str) -> None:
        others = [other for other in MOESIF_RESOURCES if other != resource]
        refused = refusal(f"/v1/{resource}{batch}", [], dialect=moesif(resources=others))
        assert (refused.fault.status, refused.fault.code) == (403, "forbidden")
        assert resource in refused.reason
        assert "`resources`" in refused.reason
        call(f"/v1/{resource}{batch}", ELEMENTS[resource] if not batch else [], dialect=moesif(resources=[resource]))

    def test_another_application_is_not_bound_by_that(self) -> None:
        assert len(call("/v1/users", {"user_id": "u"}, key=OTHER_ID, dialect=moesif(resources=["events"])).records) == 1

    def test_its_configuration_and_rules_are_served_in_any_case(self) -> None:
        for path in ("/v1/config", "/v1/rules"):
            assert call(path, method="GET", dialect=moesif(resources=["actions"])).answer.status == 200


class TestAccept:
    @pytest.mark.parametrize(
        "accept",
        [
            "*/*",
            "application/json",
            "application/json, text/plain, */*",
            "application/json; charset=utf-8",
            "Application/JSON",
            "application/*",
            "text/html, */*;q=0.1",
            "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
            "text/html;q=0, application/json;q=0.001",
            "application/*;q=0, application/json",
            "*/*;q=0, application/*",
            "",
            " ",
        ],
    )
    def test_json_may_be_answered(self, accept: str) -> None:
        assert call("/v1/actions", ACTION, headers={"accept": accept}).answer.status == 201
        assert call("/v1/config", method="GET", headers={"accept": accept}).answer.status == 200

    @pytest.mark.parametrize(
        "accept",
        [
            "text/html",
            "text/*, image/png",
            "application/xml",
            "application/vnd.api+json",
            "application/json;q=0",
            "application/json;q=0, */*",
            "application/json; q=0.000, application/*",
            "application/*;q=0, */*",
            "*/*;q=0",
            "nonsense",
            ";;,",
        ],
    )
    def test_who_takes_no_json_is_refused_with_406(self, accept: str) -> None:
        for path, method in (("/v1/actions", "POST"), ("/v1/config", "GET"), ("/v1/rules", "GET")):
            refused = refusal(path, ACTION, method=method, headers={"accept": accept})
            assert (refused.fault.status, refused.fault.code) == (406, "not_acceptable")

    def test_the_health_probe_answers_anyone(self) -> None:
        assert call("/health/probe", method="GET", key=None, headers={"accept": "text/html"}).answer.status == 200


class TestBodies:
    @pytest.mark.parametrize(
        ("path", "body", "code", "where"),
        [
            ("/v1/actions", b"{", "malformed_json", "$"),
            ("/v1/actions", b"", "malformed_json", "$"),
            ("/v1/actions", b'{"action_name":"\xff","request":{}}', "malformed_json", "$"),
            ("/v1/actions", b'{"x":"\xff","action_name":"A","request":{}}', "malformed_json", "$"),
            ("/v1/companies", b'{"company_id":"c","x":"\xff"}', "malformed_json", "$"),
            ("/v1/actions", b'{"action_name":"A\nB","request":{}}', "malformed_json", "$"),
            ("/v1/companies/batch", b"[" * 100_000, "malformed_json", "$"),
            ("/v1/subscriptions/batch", {}, "invalid_field", "$"),
            ("/v1/companies", [], "invalid_field", "$"),
            ("/v1/actions", {}, "missing_field", "$.action_name"),
            ("/v1/actions", {"action_name": "A", "request": None}, "invalid_field", "$.request"),
            ("/v1/actions", {"request": {}}, "missing_field", "$.action_name"),
            ("/v1/actions", {"action_name": "A"}, "missing_field", "$.request"),
            ("/v1/actions", {"action_name": "", "request": {}}, "invalid_field", "$.action_name"),
            ("/v1/actions", {"action_name": None, "request": {}}, "invalid_field", "$.action_name"),
            ("/v1/actions", ACTION | {"user_id": 5}, "invalid_field", "$.user_id"),
            ("/v1/actions", ACTION | {"metadata": [1]}, "invalid_field", "$.metadata"),
            ("/v1/actions", ACTION | {"metadata": "x"}, "invalid_field", "$.metadata"),
            ("/v1/actions", ACTION | {"transaction_id": "x" * 300}, "invalid_field", "$.transaction_id"),
            ("/v1/events", {}, "missing_field", "$.request"),
            ("/v1/events", {"request": {"uri": "u", "verb": "GET"}}, "missing_field", "$.request.time"),
            ("/v1/events", CALL | {"tags": ["a"]}, "invalid_field", "$.tags"),
            ("/v1/events", CALL | {"response": {"status": 70_000}}, "invalid_field", "$.response.status"),
            ("/v1/events", CALL | {"response": {"status": -1}}, "invalid_field", "$.response.status"),
            ("/v1/events", CALL | {"response": {"status": 200, "time": "x"}}, "invalid_field", "$.response.time"),
            ("/v1/users", {}, "missing_field", "$.user_id"),
            ("/v1/users", {"user_id": None, "anonymous_id": ""}, "missing_field", "$.user_id"),
            ("/v1/users", {"user_id": 5}, "invalid_field", "$.user_id"),
            ("/v1/users", {"user_id": "u", "campaign": []}, "invalid_field", "$.campaign"),
            ("/v1/companies", {"company_id": None}, "missing_field", "$.company_id"),
            ("/v1/companies", {"company_id": ""}, "missing_field", "$.company_id"),
            ("/v1/companies", {"company_id": 5}, "invalid_field", "$.company_id"),
            ("/v1/companies", {"companyId": 5}, "invalid_field", "$.companyId"),
            ("/v1/companies", {"company_id": "c", "company_domain": 5}, "invalid_field", "$.company_domain"),
            ("/v1/companies", {"company_id": "c", "modified_time": "x"}, "invalid_field", "$.modified_time"),
            ("/v1/companies", {"company_id": "c", "modifiedTime": "x"}, "invalid_field", "$.modifiedTime"),
            ("/v1/companies", {"company_id": "c", "metadata": 5}, "invalid_field", "$.metadata"),
            ("/v1/subscriptions", {"company_id": "c"}, "missing_field", "$.subscription_id"),
            ("/v1/subscriptions", {"subscription_id": "s"}, "missing_field", "$.company_id"),
            ("/v1/subscriptions", SUBSCRIPTION | {"status": 5}, "invalid_field", "$.status"),
            ("/v1/subscriptions", SUBSCRIPTION | {"items": {}}, "invalid_field", "$.items"),
            ("/v1/subscriptions", SUBSCRIPTION | {"items": [5]}, "invalid_field", "$.items[0]"),
            ("/v1/subscriptions", SUBSCRIPTION | {"items": [{}]}, "missing_field", "$.items[0].plan_id"),
            ("/v1/subscriptions", SUBSCRIPTION | {"items": [{"plan_id": 1}]}, "invalid_field", "$.items[0].plan_id"),
            (
                "/v1/subscriptions",
                SUBSCRIPTION | {"current_period_end": "x"},
                "invalid_field",
                "$.current_period_end",
            ),
        ],
    )
    def test_22_a_fault_is_told_with_its_path(self, path: str, body: Any, code: str, where: str) -> None:
        assert fault(path, body) == (400, code, where)
        if not path.endswith("/batch") and not isinstance(body, (bytes, list)):
            batch = [ELEMENTS[path.split("/")[2]], body]
            assert fault(f"{path}/batch", batch) == (400, code, "$[1]" + where.removeprefix("$"))

    def test_a_batch_of_too_many_elements_is_refused(self) -> None:
        few = moesif(limits={"moesif_batch_elements_max": 2})
        assert fault("/v1/companies/batch", [{}, {}, {}], dialect=few)[:2] == (413, "payload_too_large")
        assert fault("/v1/companies/batch", [5, 5, 5], dialect=few) == (400, "invalid_field", "$[0]")

    def test_line_breaks_between_tokens_become_spaces(self) -> None:
        pretty = json.dumps([ACTION | {"metadata": {"a": [1, 2]}}], indent=2).replace("\n", "\r\n").encode()
        (only,) = events("/v1/actions/batch", pretty)
        assert json.loads(bytes(only.properties)) == {"a": [1, 2]}

    def test_a_single_body_is_stripped_to_one_element(self) -> None:
        (only,) = events("/v1/actions", b' \n{"action_name":"A","request":{}} ')
        assert payload_text(only) == b'{"action_name":"A","request":{}}'

    @pytest.mark.parametrize(
        ("endpoint", "size"),
        [
            ("actions", 1),
            ("actions_batch", 15),
            ("events", 12),
            ("events_batch", 12),
            ("users", 1),
            ("users_batch", 12),
            ("companies", 1),
            ("companies_batch", 12),
            ("subscriptions", 1),
            ("subscriptions_batch", 12),
        ],
    )
    def test_23_every_path_has_its_limit(self, endpoint: str, size: int) -> None:
        (found,) = [route.body_bytes_max for route in MOESIF.routes if route.endpoint == endpoint]
        assert found == size << 20


def test_every_refusal_is_in_the_contracts_form() -> None:
    for given in MOESIF.faults:
        body = json.loads(MOESIF.refuse(Refused(given, "why")).body)
        assert body == {"moesif_error": {"code": given.code, "msg": "why"}}
        assert re.fullmatch("[a-z_]+", str(given.code))


def test_every_path_is_told_apart_in_the_time_that_its_length_takes() -> None:
    """This would not end where each slash is looked through to the path's end."""
    path = "/v1" * 200_000 + "\n" + "/health" * 200_000
    assert MOESIF.owns.match(path)
    assert not any(route.pattern.match(path) for route in MOESIF.routes)
