"""The settings of an application's Moesif clients, with the sampling and governance rules that these are told."""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, JsonValue, field_validator, model_validator

from catchment.settings.limit import RateLimit
from catchment.settings.retention import MoesifRetention
from catchment.settings.section import HeaderName, HeaderValue, Key, Section, TimeWindow

CONDITION_PATH = r"^(request\.(verb|ip|ip_address|route|uri)|response\.status|(request|response)\.(body|headers)\..+)$"
SAMPLED_PATH = r"^(request\.(verb|route|ip_address)|response\.status)$"
VARIABLE_NAME = r"^[^{}|]+$"
_VARIABLE = re.compile(r"\{\{([^{}|]*)\}\}")

Rate = Annotated[int, Field(ge=0, le=100)]
MoesifResource = Literal["actions", "events", "users", "companies", "subscriptions"]
MOESIF_RESOURCES: tuple[MoesifResource, ...] = get_args(MoesifResource)


class Condition(Section):
    """One thing that must be found in a call. All conditions of an entry must hold; of several entries, one."""

    path: str = Field(
        pattern=CONDITION_PATH,
        description="Where: `request.verb`, `request.ip`, `request.ip_address`, `request.route`, `request.uri`,"
        " `request.body.x`, `request.headers.x`, `response.status`, `response.body.x`, `response.headers.x`.",
    )
    value: str = Field(description="What: a regular expression, as the client's own language reads it.")

    @field_validator("value")
    @classmethod
    def _is_regular_expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


class SampledCondition(Condition):
    """A condition that a client can look at when it samples."""

    path: str = Field(
        pattern=SAMPLED_PATH,
        description="Where: `request.verb`, `request.route` (the path), `request.ip_address` or `response.status`;"
        " with any other, clients send every call and warn.",
    )


class SampledCalls(Section):
    """Calls that clients send a sample of; the first entry that fits counts, and comes before users and companies."""

    conditions: list[SampledCondition] = Field(min_length=1, description="What such a call has.")
    sample_rate: Rate = Field(description="How many of a hundred such calls clients send.")


class MatchedCalls(Section):
    """Calls that a rule is for."""

    conditions: list[Condition] = Field(min_length=1, description="What such a call has.")


class RuleResponse(Section):
    """What the caller gets. `{{name}}` in a header or in the body becomes the value that the variable has for the user
    or company of the call; with a default, `{{name|default}}`, only moesif-nodejs fills it in."""

    status: int = Field(200, ge=200, le=599, description="Status of the answer, a registered one.")
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, description="Headers of the answer.")
    body: JsonValue = Field(default_factory=dict, description="Body of the answer, any JSON.")

    @field_validator("status")
    @classmethod
    def _is_registered(cls, status: int) -> int:
        """Else moesifwsgi makes the host answer 500."""
        if status not in {known.value for known in HTTPStatus}:
            raise ValueError("it must be a registered HTTP status")
        return status

    @field_validator("body")
    @classmethod
    def _is_readable(cls, body: JsonValue) -> JsonValue:
        if body is None:
            raise ValueError("it must not be null, which some clients cannot read; {} is an empty body")
        try:
            json.dumps(body, allow_nan=False)
        except ValueError:
            raise ValueError("it must be JSON, which has neither nan nor inf") from None
        return body


class RuleVariable(Section):
    """A variable of a rule's response; `user_rules` and `company_rules` have the values."""

    name: str = Field(pattern=VARIABLE_NAME, description="What stands between `{{` and `}}`.")
    path: str = Field(description="What it is in a profile, like `body.plan_name`, for whoever reads it.")


class EntityRule(Section):
    """A rule that a user or a company falls under."""

    rules: str = Field(description="The `id` of one rule.")
    values: dict[str, str] = Field(
        default_factory=dict,
        description="What the rule's variables are for this one. moesifdjango wants them named `0`, `1`, ...",
    )


class Rule(Section):
    """A governance rule: clients block or change the calls that it is for, without asking the server."""

    id: Annotated[str, Field(max_length=64)] = Field(
        min_length=1, pattern=r"^\S+$", description="Name of the rule in events that it blocked, as `blocked_by`."
    )
    name: str = Field("", description="Name of the rule for people.")
    type: Literal["user", "company", "regex"] = Field(
        description="Whom it is for: users, companies, or whatever fits `regex_config`."
    )
    block: bool = Field(False, description="Whether the call is answered by the rule alone.")
    applied_to: Literal["matching", "not_matching"] = Field(
        "matching", description="For the users or companies that name the rule, or for those that do not."
    )
    applied_to_unidentified: bool = Field(False, description="For calls of nobody known, too.")
    regex_config: list[MatchedCalls] = Field(
        default_factory=list, description="Only for these calls; none means for all."
    )
    response: RuleResponse = Field(
        default_factory=lambda: RuleResponse.model_validate({}), description="What the caller gets."
    )
    variables: list[RuleVariable] = Field(default_factory=list, description="The variables of the response.")

    @model_validator(mode="after")
    def _is_not_for_every_call(self) -> Self:
        if self.type == "regex" and not self.regex_config:
            raise ValueError("a rule of type regex needs regex_config, or it would be for every call")
        return self

    @model_validator(mode="after")
    def _response_has_its_variables(self) -> Self:
        declared = {variable.name for variable in self.variables}
        texts = (*self.response.headers.values(), *_texts(self.response.body))
        unknown = sorted({name for text in texts for name in _VARIABLE.findall(text)} - declared)
        if unknown:
            raise ValueError(f"response has {{{{{unknown[0]}}}}}, which is not among variables")
        return self


class MoesifApp(Section):
    """Keys and rules of an application's Moesif clients, and what they are told about sampling and governance."""

    application_ids: list[Key] = Field(
        min_length=1,
        description="Accepted `X-Moesif-Application-Id`; moesif-nodejs wants 50 characters at least.",
    )
    resources: list[MoesifResource] = Field(
        default_factory=lambda: list(MOESIF_RESOURCES),
        min_length=1,
        description="What the application takes; it refuses the rest.",
    )
    time_window: TimeWindow = Field("flag", description="An event outside the window is stored as late, or refused.")
    time_window_days: float = Field(7, gt=0, le=36_500, description="How old an event may be.")
    session_headers: list[HeaderName] = Field(
        default_factory=lambda: ["authorization", "x-api-key", "x-auth-token"],
        description="Headers of captured API calls that name the session where `session_token` does not; the first"
        " that is there counts. Their values are credentials.",
    )
    sample_rate: Rate = Field(100, description="How many of a hundred API calls clients send.")
    user_sample_rate: dict[str, Rate] = Field(default_factory=dict, description="The same for single users, by id.")
    company_sample_rate: dict[str, Rate] = Field(
        default_factory=dict, description="The same for single companies, by id."
    )
    regex_config: list[SampledCalls] = Field(default_factory=list, description="The same for some calls.")
    rate_limit: RateLimit | None = Field(None, description="How many requests are taken.")
    retention: MoesifRetention | None = Field(None, description="How long what was sent is kept.")
    block_bot_traffic: bool = Field(False, description="Whether clients leave out calls of bots.")
    rules: list[Rule] = Field(default_factory=list, description="Governance rules, in the order in which they count.")
    user_rules: dict[str, list[EntityRule]] = Field(
        default_factory=dict, description="The rules that single users fall under, by id."
    )
    company_rules: dict[str, list[EntityRule]] = Field(
        default_factory=dict, description="The rules that single companies fall under, by id."
    )

    @model_validator(mode="after")
    def _rules_are_known(self) -> Self:
        types = {rule.id: rule.type for rule in self.rules}
        ids = [rule.id for rule in self.rules]
        problems = [f"two rules have the id {rule}" for rule in types if ids.count(rule) > 1]
        for wanted, entities in (("user", self.user_rules), ("company", self.company_rules)):
            for entity, references in entities.items():
                for reference in references:
                    found = types.get(reference.rules)
                    if found != wanted:
                        what = f"is of type {found}" if found else "is not among rules"
                        problems.append(f"{wanted}_rules.{entity} names the rule {reference.rules}, which {what}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _texts(value: JsonValue) -> Iterator[str]:
    """All texts of a JSON value, names too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value:
            yield from _texts(inner)
        for inner in value.values() if isinstance(value, dict) else ():
            yield from _texts(inner)
