"""What Moesif's clients fetch from a server, and how they learn that it changed (contracts/moesif.md 1.3 to 1.5).

Clients fetch their configuration and the governance rules at the start, and again when a tag on an answer differs from
the one they have. So both tags are on every answer that clients look at them in, and one changes only if its document
does. Clients parse strictly: every member is there and never null, and there are no others in the objects within.
Everything is made once, at the start.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from catchment.dialects.dialect import Answer
from catchment.dialects.moesif.negotiation import is_current
from catchment.settings import Condition, EntityRule, MoesifApp, Rule

JSON_CORS = [("content-type", "application/json"), ("access-control-allow-origin", "*")]
CONFIG_TAG, RULES_TAG = "x-moesif-config-etag", "x-moesif-rules-tag"
EXPOSED = ("access-control-expose-headers", f"{CONFIG_TAG}, {RULES_TAG}, etag")
ORG_ID = "catchment"
CREATED_AT = "1970-01-01T00:00:00.000"  # a rule of the file has no such time, but clients have a member for it
_TAG_BYTES = 8


class Document(NamedTuple):
    """What a client may fetch: its answer, and the one for who has it already."""

    tag: str
    whole: Answer
    unchanged: Answer

    def answer(self, if_none_match: str | None) -> Answer:
        """304 for a client that says it has this version, else the document."""
        return self.unchanged if is_current(if_none_match, self.tag) else self.whole


class Governance(NamedTuple):
    """An application's documents by endpoint, and the answer to whatever it sends."""

    documents: dict[str, Document]
    created: Answer


def governance_of(app: str, settings: MoesifApp) -> Governance:
    """The application's documents and their tags."""
    config = msgspec.json.encode(_config(app, settings))
    rules = msgspec.json.encode([_rule(app, rule) for rule in settings.rules])
    tags = {"config": _tag(config), "rules": _tag(rules)}
    headers = [*JSON_CORS, EXPOSED, (CONFIG_TAG, tags["config"]), (RULES_TAG, tags["rules"])]
    documents: dict[str, Document] = {}
    for endpoint, body in (("config", config), ("rules", rules)):
        tagged = [*headers, ("etag", f'"{tags[endpoint]}"')]
        documents[endpoint] = Document(tags[endpoint], Answer(200, tagged, body), Answer(304, tagged, b""))
    return Governance(documents, Answer(201, headers, b"{}"))


def _tag(document: bytes) -> str:
    return hashlib.blake2b(document, digest_size=_TAG_BYTES).hexdigest()


def _config(app: str, settings: MoesifApp) -> dict[str, Any]:
    return {
        "org_id": ORG_ID,
        "app_id": app,
        "sample_rate": settings.sample_rate,
        "block_bot_traffic": settings.block_bot_traffic,
        "user_sample_rate": settings.user_sample_rate,
        "company_sample_rate": settings.company_sample_rate,
        "user_rules": _entity_rules(settings.user_rules),
        "company_rules": _entity_rules(settings.company_rules),
        "ip_addresses_blocked_by_name": {},
        "billing_config_jsons": {},
        "regex_config": [
            {"conditions": _conditions(part.conditions), "sample_rate": part.sample_rate}
            for part in settings.regex_config
        ],
    }


def _entity_rules(given: dict[str, list[EntityRule]]) -> dict[str, Any]:
    return {
        entity: [{"rules": reference.rules, "values": reference.values} for reference in references]
        for entity, references in given.items()
    }


def _conditions(conditions: Sequence[Condition]) -> list[dict[str, str]]:
    return [{"path": condition.path, "value": condition.value} for condition in conditions]


def _rule(app: str, rule: Rule) -> dict[str, Any]:
    return {
        "_id": rule.id,
        "name": rule.name,
        "type": rule.type,
        "block": rule.block,
        "applied_to": rule.applied_to,
        "applied_to_unidentified": rule.applied_to_unidentified,
        "regex_config": [{"conditions": _conditions(part.conditions)} for part in rule.regex_config],
        "response": {
            "status": rule.response.status,
            "headers": rule.response.headers,
            "body": rule.response.body,
        },
        "variables": [{"name": variable.name, "path": variable.path} for variable in rule.variables],
        "created_at": CREATED_AT,
        "org_id": ORG_ID,
        "app_id": app,
    }
