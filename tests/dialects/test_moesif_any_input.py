"""Whatever is sent to Moesif's dialect becomes records or a refusal of the sender's fault."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catchment.dialects.moesif.negotiation import accepts_json, is_current
from catchment.errors import Refused
from catchment.record import encode_lines
from tests.dialects.moesif_calls import ELEMENTS, MOESIF, call, moesif

PATHS = [*ELEMENTS, *(f"{resource}/batch" for resource in ELEMENTS)]
SMALL = moesif(limits={"moesif_event_bytes_max": 1024}, time_window="reject")
NAMES = [
    "action_name", "actionName", "request", "response", "time", "uri", "verb", "headers", "body", "status", "metadata",
    "user_id", "userId", "anonymous_id", "company_id", "companyId", "subscription_id", "subscriptionId",
    "session_token", "sessionToken", "transaction_id", "weight", "tags", "campaign", "utmSource", "transfer_encoding",
    "transferEncoding", "authorization", "Cookie", "user-agent", "modified_time", "modifiedTime", "items", "plan_id",
    "planId", "current_period_start", "currentPeriodEnd", "x",
]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.sampled_from(["2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.5", "base64", "Bearer x", "", "\ud800", "\x00"])
    | st.sampled_from(["x" * 2000, "\ud800" * 400])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=25,
)


def near(element: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Elements that are sound but for a few members, so that much of the way is gone."""
    inner = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)
    laid_over = inner.map(lambda members: element | members)
    if "request" not in element:
        return laid_over
    return st.builds(lambda made, request: made | {"request": element["request"] | request}, laid_over, inner)


def encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data(), dialect=st.sampled_from([MOESIF, SMALL]))
def test_any_body_becomes_records_or_a_refusal(path: str, data: st.DataObject, dialect: Any) -> None:
    element = near(ELEMENTS[path.split("/")[0]])
    body = encoded(
        data.draw(
            st.binary(max_size=50) | JSON | (st.lists(element, max_size=3) if path.endswith("/batch") else element)
        )
    )
    agent = data.draw(st.sampled_from(["moesifapi-python/1", "kong-plugin-moesif/2"]))
    try:
        records = call(f"/v1/{path}", body, dialect=dialect, headers={"user-agent": agent}).records
    except Refused as refused:
        answer = dialect.refuse(refused)
        assert 400 <= answer.status < 500
        assert set(json.loads(answer.body)) == {"moesif_error"}
    else:
        lines = encode_lines(records)
        assert lines.count(b"\n") == len(records)
        for line in lines.splitlines():
            assert json.loads(line)["app"] == "shop"
    dialect.conceal(body)


@given(header=st.text(max_size=60) | st.text("*/;,=q.01 json", max_size=40))
def test_any_header_is_understood_in_some_way(header: str) -> None:
    assert accepts_json(header) in (True, False)
    assert is_current(header, "tag") in (True, False)
