"""Every setting: its name, unit, bounds, default and one sentence. docs/configuration.md is generated from here.

Pure values; `config` reads them from `catchment.toml` and the environment. A limit on everything that a sender or a
full disk could make grow, with the unit in its name.
"""

import json
import os
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Literal, Self, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

MIB = 1024 * 1024
YEAR_S = 366 * 24 * 3600
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$"
HEADER_VALUE = r"^[\t -~]*$"
CONDITION_PATH = r"^(request\.(verb|ip|ip_address|route|uri)|response\.status|(request|response)\.(body|headers)\..+)$"
SAMPLED_PATH = r"^(request\.(verb|route|ip_address)|response\.status)$"
VARIABLE_NAME = r"^[^{}|]+$"
_VARIABLE = re.compile(r"\{\{([^{}|]*)\}\}")

Key = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
TimeWindow = Literal["flag", "reject"]
Rate = Annotated[int, Field(ge=0, le=100)]
HeaderName = Annotated[str, Field(pattern=HEADER_NAME)]
HeaderValue = Annotated[str, Field(pattern=HEADER_VALUE)]
MoesifResource = Literal["actions", "events", "users", "companies", "subscriptions"]
MOESIF_RESOURCES: tuple[MoesifResource, ...] = get_args(MoesifResource)


class Section(BaseModel):
    """A table of the file. Unknown keys are mistakes, so that a misspelt setting never passes for its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ingest(Section):
    """The world's port: vendors' keys, CORS."""

    host: str = Field("127.0.0.1", description="Address that SDKs send to.")
    port: int = Field(8080, ge=0, le=65535, description="Port that SDKs send to.")
    workers: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 1) // 2),
        ge=1,
        le=256,
        description="Edge processes; each writes a log folder of its own. Default: half the processors.",
    )
    tls_cert: str | None = Field(None, description="Certificate chain (PEM) for HTTPS on both ports.")
    tls_key: str | None = Field(None, description="Private key (PEM) of the certificate.")
    connections_max: int = Field(
        4096, ge=1, le=65536, description="Connections one edge process serves at a time, idle ones too; more wait."
    )
    trusted_proxies: list[str] = Field(
        default_factory=list,
        description="Peers whose `X-Forwarded-For` is believed: IP addresses or networks.",
    )

    @model_validator(mode="after")
    def _tls_pair(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key go together: give both or none")
        return self


class Console(Section):
    """Your port: SQL, status and the tail of events, guarded by a bearer token."""

    host: str = Field("127.0.0.1", description="Address of the console and its API.")
    port: int = Field(8081, ge=0, le=65535, description="Port of the console and its API.")
    token: Key = Field(description="Bearer token of the console and its API.")


class Log(Section):
    """The durable log between edge and core."""

    segment_bytes_max: int = Field(
        64 * MIB, ge=4096, le=4096 * MIB, description="A segment is closed once it holds this many bytes."
    )
    unsynced_bytes_max: int = Field(
        64 * MIB,
        ge=MIB,
        le=4096 * MIB,
        description="Bytes waiting for fsync in one edge process before it answers 503.",
    )
    keep_loaded_hours: float = Field(
        0, ge=0, le=24 * 366, description="How long a segment stays after the store has all of it."
    )


class Loader(Section):
    """From the log into the store."""

    batch_bytes_max: int = Field(
        32 * MIB, ge=4096, le=512 * MIB, description="Log bytes handed to the store in one insert."
    )
    interval_ms_min: int = Field(
        250, ge=0, le=60_000, description="Least time from one insert to the next, so that small inserts gather."
    )


class Sql(Section):
    """Bounds of one query over the console's API or the command line."""

    seconds_max: float = Field(30, gt=0, le=3600, description="Time that one query may take.")
    rows_max: int = Field(100_000, ge=1, le=10_000_000, description="Rows that one answer may hold.")
    memory_bytes_max: int = Field(2048 * MIB, ge=16 * MIB, description="Memory that one query may take.")
    queries_max: int = Field(4, ge=1, le=64, description="Queries that run at one time; more wait.")


class Limits(Section):
    """Bounds on what a sender may send, measured after decompression."""

    moesif_event_bytes_max: int = Field(
        1 * MIB,
        ge=1024,
        description="Body of `/v1/actions`, of one profile, and an API call; a larger one has its captured bodies cut.",
    )
    moesif_events_batch_bytes_max: int = Field(
        12 * MIB, ge=1024, description="Body of `/v1/events/batch`, and of `/v1/events` before it is cut."
    )
    moesif_actions_batch_bytes_max: int = Field(15 * MIB, ge=1024, description="Body of `/v1/actions/batch`.")
    moesif_profiles_batch_bytes_max: int = Field(
        12 * MIB, ge=1024, description="Body of a batch of users, companies or subscriptions."
    )
    moesif_batch_elements_max: int = Field(50_000, ge=1, description="Elements of one Moesif batch.")
    batch_body_bytes_max: int = Field(16 * MIB, ge=1024, description="Body of a Batch request.")
    batch_events_max: int = Field(1000, ge=1, description="Events of one Batch request over all users.")
    batch_event_name_chars_max: int = Field(64, ge=1, description="Characters of a Batch event name after `ue.`.")
    batch_user_id_chars_max: int = Field(1024, ge=1, description="Characters of a Batch custom user id.")
    moloco_body_bytes_max: int = Field(1 * MIB, ge=1024, description="Body of a Moloco user event.")
    moloco_id_chars_max: int = Field(
        1024, ge=128, description="Characters of an id in a Moloco event; the vendor documents 128."
    )
    moloco_tracker_query_chars_max: int = Field(
        8192, ge=256, description="Characters of the query of a Moloco tracker call."
    )
    keyless_events_per_minute_max: int = Field(
        60_000,
        ge=0,
        description="Events without a key, which Moloco's tracker calls are, that one edge process takes in a minute.",
    )
    idempotency_hours: float = Field(
        24, gt=0, le=24 * 366, description="How long a call with an `Idempotency-Key` gets its first answer again."
    )
    idempotency_keys_max: int = Field(
        1_000_000,
        ge=0,
        le=100_000_000,
        description="Keys whose answers are remembered, at some 500 bytes of disk each; of more, the oldest go first.",
    )
    rejection_bytes_max: int = Field(64 * 1024, ge=0, description="Bytes of a refused body that are kept.")
    rejections_per_minute_max: int = Field(
        1000, ge=0, description="Rejections one edge process stores in a minute; more become one with their count."
    )
    unauthenticated_per_minute_max: int = Field(
        60, ge=0, description="Refusals without a valid key that one edge process stores in a minute, without body."
    )


class Privacy(Section):
    """Session tokens and the values of credential headers are not events: stored as keyed hashes, they still join."""

    credentials: Literal["hash", "plain"] = Field(
        "hash", description="How session tokens and credential headers are stored."
    )
    hash_key: Key = Field(description="Key of those hashes. Changing it makes old and new values differ.")
    credential_headers: list[str] = Field(
        default_factory=lambda: [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "x-auth-token",
            "x-csrf-token",
            "x-moesif-application-id",
        ],
        description="Headers of captured API calls whose values are credentials, in lower case.",
    )


class Geo(Section):
    """Where the addresses of senders are, by a database file of your own; nothing is asked over the network."""

    database: str | None = Field(
        None, description="City or Country database in MaxMind's format (`.mmdb`); replace it by moving, not in place."
    )


class RateLimit(Section):
    """How many requests a source of an application may send, over all edge processes; only calls that write count."""

    requests_per_second: float = Field(
        0, ge=0, le=1_000_000, description="Requests a second that are taken in the long run; 0 is no limit."
    )
    burst_requests: int = Field(
        0,
        ge=0,
        le=100_000_000,
        description="Requests that may come at once after a pause; 0 is as many as in one second.",
    )

    @model_validator(mode="after")
    def _is_full_within_a_year(self) -> Self:
        if self.requests_per_second and self.burst_requests / self.requests_per_second > YEAR_S:
            raise ValueError("burst_requests must come back within a year: raise requests_per_second")
        return self


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


class BatchApp(Section):
    """Keys and rules of an application's Batch.com clients."""

    rest_api_keys: list[Key] = Field(min_length=1, description="Accepted `X-Authorization`.")
    live: list[Key] = Field(default_factory=list, description="Live API keys, in the path.")
    dev: list[Key] = Field(default_factory=list, description="Dev API keys, in the path.")
    sdk: list[Key] = Field(default_factory=list, description="SDK API keys, in the path.")
    time_window: TimeWindow = Field("flag", description="An event outside the window is stored as late, or refused.")
    time_window_hours: float = Field(24, gt=0, le=876_000, description="How old an event may be.")
    time_ahead_seconds: float = Field(60, ge=0, description="How far a sender's clock may be ahead.")
    rate_limit: RateLimit | None = Field(None, description="How many requests are taken.")
    trigger_events: bool = Field(
        True, description="Whether the application takes trigger events; its calls are answered 403 if not."
    )


class ExpiringKey(Section):
    """A key of a platform that stops to open it."""

    platform: Name = Field(description="The platform, one of `platforms`.")
    key: Key = Field(description="Accepted `x-api-key` until then.")
    expires_at: AwareDatetime = Field(description="From when on a call with it is answered 403.")


class MolocoApp(Section):
    """Keys and rules of an application's Moloco clients."""

    platforms: dict[Name, list[Key]] = Field(
        min_length=1, description="Platform ids, each with its accepted `x-api-key`."
    )
    expiring_keys: list[ExpiringKey] = Field(
        default_factory=list, description="Further keys, each accepted up to a time."
    )
    trackers: bool = Field(
        True, description="Whether impressions and clicks are taken at `/t/i` and `/t/c`, which need no key."
    )
    time_ahead_seconds: float = Field(300, ge=0, description="How far a sender's clock may be ahead.")
    rate_limit: RateLimit | None = Field(None, description="How many requests are taken; tracker calls do not count.")

    @model_validator(mode="after")
    def _expiring_keys_are_further_ones(self) -> Self:
        for index, key in enumerate(self.expiring_keys):
            if key.platform not in self.platforms:
                raise ValueError(f"expiring_keys.{index}.platform is not among platforms")
            if key.key in self.platforms[key.platform]:
                raise ValueError(f"expiring_keys.{index}.key is in platforms too, and would never expire")
        return self


class App(Section):
    """One application: its events, users and rejections are its own."""

    moesif: MoesifApp | None = None
    batch: BatchApp | None = None
    moloco: MolocoApp | None = None


class Settings(Section):
    """The whole file."""

    ingest: Ingest = Field(default_factory=Ingest)
    console: Console
    log: Log = Field(default_factory=Log)
    loader: Loader = Field(default_factory=Loader)
    sql: Sql = Field(default_factory=Sql)
    limits: Limits = Field(default_factory=Limits)
    privacy: Privacy
    geo: Geo = Field(default_factory=Geo)
    apps: dict[Name, App] = Field(min_length=1)

    @model_validator(mode="after")
    def _keys_name_one_app(self) -> Self:
        owners: dict[tuple[str, str], str] = {}
        doubles: list[str] = []
        for app_name, app in self.apps.items():
            for kind, key in _identifying_keys(app):
                owner = owners.setdefault((kind, key), app_name)
                if owner != app_name:
                    doubles.append(f"apps.{app_name}.{kind} holds a key that apps.{owner}.{kind} has too")
        if doubles:
            raise ValueError("; ".join(doubles) + "; a key must lead to one application")
        return self


def _identifying_keys(app: App) -> list[tuple[str, str]]:
    """The keys by which a request finds its application, with the table they stand in."""
    keys: list[tuple[str, str]] = []
    if app.moesif:
        keys += [("moesif", key) for key in app.moesif.application_ids]
    if app.batch:
        keys += [("batch", key) for key in (*app.batch.live, *app.batch.dev, *app.batch.sdk)]
    if app.moloco:
        keys += [("moloco", platform) for platform in app.moloco.platforms]
    return keys
