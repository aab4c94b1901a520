"""What Moesif's clients fetch, the tags that tell them when, and how mistakes in its settings are reported.

Numbers are those of the checklist in contracts/moesif.md, section 6.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from catchment.config import FILE_NAME, ConfigError, load
from catchment.dialects.dialect import Answer
from catchment.dialects.moesif import Moesif
from catchment.settings import MoesifApp
from tests.dialects.moesif_calls import ELEMENTS, MOESIF, OTHER_ID, call, moesif

BLOCKED: dict[str, Any] = {"status": 429, "headers": {"Retry-After": "60"}, "body": {"error": "{{plan}} is used up"}}
CONDITION = {"path": "request.verb", "value": "POST|PUT"}
RULE: dict[str, Any] = {
    "id": "over-quota",
    "name": "Over quota",
    "type": "company",
    "block": True,
    "regex_config": [{"conditions": [CONDITION]}],
    "response": BLOCKED,
    "variables": [{"name": "plan", "path": "body.plan_name"}],
}
GOVERNED: dict[str, Any] = {
    "sample_rate": 50,
    "block_bot_traffic": True,
    "user_sample_rate": {"u1": 0},
    "company_sample_rate": {"c1": 100},
    "regex_config": [{"conditions": [CONDITION], "sample_rate": 10}],
    "rules": [RULE],
    "user_rules": {},
    "company_rules": {"c1": [{"rules": "over-quota", "values": {"plan": "Free"}}]},
}


def get(path: str, dialect: Moesif = MOESIF, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(path, method="GET", dialect=dialect, headers=sent).answer


def served(path: str, dialect: Moesif = MOESIF) -> Any:
    answer = get(path, dialect)
    assert answer.status == 200
    assert dict(answer.headers)["content-type"] == "application/json"
    assert dict(answer.headers)["access-control-allow-origin"] == "*"
    return json.loads(answer.body)


def tags(answer: Answer) -> tuple[str, str]:
    headers = dict(answer.headers)
    return headers["x-moesif-config-etag"], headers["x-moesif-rules-tag"]


class TestDocuments:
    def test_4_the_configuration_has_every_member_by_default(self) -> None:
        assert served("/v1/config") == {
            "org_id": "catchment",
            "app_id": "shop",
            "sample_rate": 100,
            "block_bot_traffic": False,
            "user_sample_rate": {},
            "company_sample_rate": {},
            "user_rules": {},
            "company_rules": {},
            "ip_addresses_blocked_by_name": {},
            "billing_config_jsons": {},
            "regex_config": [],
        }

    def test_4_the_configuration_is_that_of_the_settings(self) -> None:
        config = served("/v1/config", moesif(**GOVERNED))
        told = {name: config[name] for name in GOVERNED if name != "rules"}
        assert told == {name: GOVERNED[name] for name in GOVERNED if name != "rules"}
        assert served("/v1/config")["sample_rate"] == 100

    def test_5_the_rules_are_an_array_by_default(self) -> None:
        assert served("/v1/rules") == []

    def test_5_a_rule_has_every_member_that_clients_read(self) -> None:
        bare = {"id": "r", "type": "user", "response": {"status": 403}}
        whole, empty = served("/v1/rules", moesif(**GOVERNED | {"rules": [RULE, bare]}))
        assert whole == {
            "_id": "over-quota",
            "name": "Over quota",
            "type": "company",
            "block": True,
            "applied_to": "matching",
            "applied_to_unidentified": False,
            "regex_config": [{"conditions": [CONDITION]}],
            "response": BLOCKED,
            "variables": [{"name": "plan", "path": "body.plan_name"}],
            "created_at": "1970-01-01T00:00:00.000",
            "org_id": "catchment",
            "app_id": "shop",
        }
        assert empty.keys() == whole.keys()
        assert None not in empty.values()
        assert (empty["block"], empty["regex_config"], empty["variables"]) == (False, [], [])
        assert empty["response"] == {"status": 403, "headers": {}, "body": {}}

    def test_each_application_has_its_own(self) -> None:
        dialect = moesif(**GOVERNED)
        other = json.loads(call("/v1/config", method="GET", key=OTHER_ID, dialect=dialect).answer.body)
        assert (other["app_id"], other["sample_rate"]) == ("other", 100)


class TestTags:
    @pytest.mark.parametrize("dialect", [MOESIF, moesif(**GOVERNED)], ids=["defaults", "governed"])
    def test_6_both_tags_are_the_same_on_both_documents_and_on_every_accepted_post(self, dialect: Moesif) -> None:
        answers = [get("/v1/config", dialect), get("/v1/rules", dialect)]
        for resource, element in ELEMENTS.items():
            answers += [
                call(f"/v1/{resource}", element, dialect=dialect).answer,
                call(f"/v1/{resource}/batch", [element], dialect=dialect).answer,
            ]
        assert len({tags(answer) for answer in answers}) == 1
        for answer in answers:
            exposed = dict(answer.headers)["access-control-expose-headers"]
            assert {"x-moesif-config-etag", "x-moesif-rules-tag"} <= set(exposed.split(", "))

    def test_6_a_tag_changes_with_its_document_and_only_then(self) -> None:
        assert tags(get("/v1/config", moesif())) == tags(get("/v1/config", moesif()))
        config, rules = tags(get("/v1/config"))
        assert tags(get("/v1/config", moesif(sample_rate=99)))[0] != config
        assert tags(get("/v1/config", moesif(sample_rate=99)))[1] == rules
        ruled = moesif(rules=[{"id": "r", "type": "user", "response": {"status": 403}}])
        assert tags(get("/v1/config", ruled))[0] == config
        assert tags(get("/v1/config", ruled))[1] != rules

    def test_the_standard_etag_is_the_tag_of_the_document(self) -> None:
        for position, path in enumerate(("/v1/config", "/v1/rules")):
            answer = get(path)
            assert dict(answer.headers)["etag"] == f'"{tags(answer)[position]}"'

    @pytest.mark.parametrize("path", ["/v1/config", "/v1/rules"])
    @pytest.mark.parametrize("form", ["{}", '"{}"', 'W/"{}"', '"x", "{}"', "x,{}", "*", " {} "])
    def test_26_a_client_that_has_this_version_is_answered_304(self, path: str, form: str) -> None:
        whole = get(path)
        tag = dict(whole.headers)["etag"].strip('"')
        answer = get(path, if_none_match=form.format(tag))
        assert (answer.status, answer.body, answer.headers) == (304, b"", whole.headers)

    @pytest.mark.parametrize("path", ["/v1/config", "/v1/rules"])
    @pytest.mark.parametrize("given", ["", "x", '"x"', 'W/"x", "y"', '"'])
    def test_26_a_client_that_has_another_one_gets_the_document(self, path: str, given: str) -> None:
        assert get(path, if_none_match=given) == get(path)

    def test_31_nothing_is_made_for_a_call(self) -> None:
        assert get("/v1/config").body is get("/v1/config").body
        assert call("/v1/users", {"user_id": "u"}).answer is call("/v1/actions/batch", []).answer


def problems(folder: Path, **moesif_settings: Any) -> list[str]:
    tree = {
        "console": {"token": "t" * 32},
        "privacy": {"hash_key": "k"},
        "apps": {"shop": {"moesif": {"application_ids": ["a"], **moesif_settings}}},
    }
    (folder / FILE_NAME).write_text(tomlkit.dumps(tree))
    try:
        load(folder)
    except ConfigError as error:
        return [problem.removeprefix("apps.shop.moesif") for problem in error.problems]
    return []


def ruled(**members: Any) -> dict[str, Any]:
    return {"rules": [RULE | members]}


class TestMistakes:
    def test_the_settings_of_these_tests_are_sound(self, tmp_path: Path) -> None:
        assert problems(tmp_path, **GOVERNED) == []

    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"sample_rate": 101}, ".sample_rate: found 101; it must be 100 or less"),
            ({"sample_rate": 0.5}, ".sample_rate: found 0.5; it must be a whole number"),
            ({"user_sample_rate": {"u": -1}}, ".user_sample_rate.u: found -1; it must be 0 or more"),
            ({"company_sample_rate": {"c": "x"}}, ".company_sample_rate.c: found 'x'; it must be a whole number"),
            ({"user_sample_rate": 5}, ".user_sample_rate: found a number; it must be a table"),
            ({"block_bot_traffic": "maybe"}, ".block_bot_traffic: found 'maybe'; it must be true or false"),
            ({"resources": []}, ".resources: found a list of 0; it must have at least 1 entry"),
            (
                {"resources": ["event"]},
                ".resources.0: found 'event'; it must be 'actions', 'events', 'users', 'companies' or 'subscriptions'",
            ),
            ({"session_headers": ["a b"]}, ".session_headers.0: found 'a b'; it must be the name of a header"),
            ({"sampel_rate": 5}, ".sampel_rate: there is no such setting; did you mean sample_rate?"),
            ({"regex_config": [{"conditions": [CONDITION]}]}, ".regex_config.0.sample_rate: missing; it must be given"),
            (
                {"regex_config": [{"conditions": [], "sample_rate": 1}]},
                ".regex_config.0.conditions: found a list of 0; it must have at least 1 entry",
            ),
            (
                {"regex_config": [{"conditions": [CONDITION | {"path": "request.method"}], "sample_rate": 1}]},
                ".regex_config.0.conditions.0.path: found 'request.method';"
                " it must be request.verb, request.route, request.ip_address or response.status",
            ),
            (
                ruled(regex_config=[{"conditions": [CONDITION | {"value": "("}]}]),
                ".rules.0.regex_config.0.conditions.0.value:"
                " not a regular expression: missing ), unterminated subpattern at position 0",
            ),
            (ruled(type="team"), ".rules.0.type: found 'team'; it must be 'user', 'company' or 'regex'"),
            (ruled(applied_to="all"), ".rules.0.applied_to: found 'all'; it must be 'matching' or 'not_matching'"),
            (ruled(id="a b"), ".rules.0.id: found 'a b'; it must be without spaces"),
            (ruled(blocks=True), ".rules.0.blocks: there is no such setting; did you mean block?"),
            (ruled(response={"status": 419}), ".rules.0.response.status: it must be a registered HTTP status"),
            (ruled(response={"status": 100}), ".rules.0.response.status: found 100; it must be 200 or more"),
            (
                ruled(response={"status": 429, "headers": {"Retry-After": 60}}),
                ".rules.0.response.headers.Retry-After: found 60; it must be a text",
            ),
            (
                ruled(response={"status": 429, "headers": {"X": "a\r\nSet-Cookie: b"}}),
                ".rules.0.response.headers.X: found 'a\\r\\nSet-Cookie: b'; it must be plain ASCII without line breaks",
            ),
            (
                ruled(response={"status": 429, "headers": {"a b": "c"}}),
                ".rules.0.response.headers.a b: found 'a b'; it must be the name of a header",
            ),
            (ruled(variables=[]), ".rules.0: response has {{plan}}, which is not among variables"),
            (
                ruled(response={"status": 429, "headers": {"X": "{{who}}"}}),
                ".rules.0: response has {{who}}, which is not among variables",
            ),
            (
                ruled(response={"status": 429, "body": {"a": [{"{{who}}": 1}]}}),
                ".rules.0: response has {{who}}, which is not among variables",
            ),
            (
                ruled(variables=[{"name": "a}", "path": "p"}]),
                ".rules.0.variables.0.name: found 'a}'; it must be without braces and |",
            ),
            (
                {"rules": [{"id": "r", "type": "regex", "block": True, "response": {"status": 403}}]},
                ".rules.0: a rule of type regex needs regex_config, or it would be for every call",
            ),
            ({"rules": [RULE, RULE]}, ": two rules have the id over-quota"),
            (
                {"company_rules": {"c1": [{"rules": "r"}]}},
                ": company_rules.c1 names the rule r, which is not among rules",
            ),
            (
                {"rules": [RULE], "user_rules": {"u1": [{"rules": "over-quota"}]}},
                ": user_rules.u1 names the rule over-quota, which is of type company",
            ),
            (
                {"rules": [RULE], "company_rules": {"c": [{"rules": "over-quota", "values": {"plan": 5}}]}},
                ".company_rules.c.0.values.plan: found 5; it must be a text",
            ),
        ],
    )  # fmt: skip
    def test_a_mistake_is_told_with_its_place_and_what_is_allowed(
        self, tmp_path: Path, given: dict[str, Any], problem: str
    ) -> None:
        assert problems(tmp_path, **given) == [problem]

    def test_a_template_with_a_default_needs_no_variable(self, tmp_path: Path) -> None:
        given = ruled(variables=[], response={"status": 429, "body": "{{plan|your plan}} {plan} {{ }"})
        assert problems(tmp_path, **given) == []

    def test_what_no_client_could_read_is_no_body(self, tmp_path: Path) -> None:
        for body in (None, float("nan"), {"a": [float("inf")]}):
            with pytest.raises(ValueError, match=r"response\.body"):
                MoesifApp.model_validate({"application_ids": ["a"], **ruled(response={"status": 429, "body": body})})
        (tmp_path / FILE_NAME).write_text("")
        [problem] = problems(tmp_path, **ruled(response={"status": 429, "body": {"at": tomlkit.date("2026-01-02")}}))
        assert "it must be a text, a number, true, false, a list or a table" in problem

    @pytest.mark.parametrize(
        "path",
        [
            *("request.verb", "request.ip", "request.ip_address", "request.route", "request.uri", "response.status"),
            *("request.body.operationName", "request.body.a.b", "request.headers.X-Plan", "response.headers.x"),
        ],
    )
    def test_a_condition_may_look_wherever_the_clients_do(self, tmp_path: Path, path: str) -> None:
        assert problems(tmp_path, **ruled(regex_config=[{"conditions": [{"path": path, "value": "^a.*$"}]}])) == []

    def test_a_sample_is_chosen_by_what_every_client_can_look_at(self, tmp_path: Path) -> None:
        condition = {"path": "request.verb", "value": "GET"}
        sampled = {"conditions": [condition], "sample_rate": 1}
        assert problems(tmp_path, regex_config=[sampled]) == []
        condition["path"] = "request.headers.x"
        [problem] = problems(tmp_path, regex_config=[sampled])
        assert ".regex_config.0.conditions.0.path: found 'request.headers.x'; " in problem

    def test_a_rule_that_blocks_nothing_needs_no_response(self, tmp_path: Path) -> None:
        rule = {key: value for key, value in ruled()["rules"][0].items() if key != "response"}
        assert problems(tmp_path, rules=[rule | {"variables": []}]) == []
