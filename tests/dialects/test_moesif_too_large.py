"""API calls that are too large keep the beginnings of their bodies (contracts/moesif.md 2.9, 6.23)."""

import base64
import json
from typing import Any

import pytest
from msgspec import Raw

from tests.dialects.moesif_calls import (
    ACTION,
    CALL,
    HASHED,
    MOESIF,
    NOON,
    events,
    fault,
    moesif,
    payload,
    payload_text,
)

MIB = 1 << 20
KEPT = 450 * 1024  # characters of base64 that are kept of a body


def large(**sides: Any) -> dict[str, Any]:
    """An API call with these bodies, each a pair of body and encoding."""
    made: dict[str, Any] = {"transaction_id": "t", "metadata": {"k": 1}, "session_token": "secret"}
    for name, (body, encoding) in sides.items():
        made[name] = {"body": body, "transfer_encoding": encoding, "headers": {"Cookie": "a=secret", "X": "y"}}
    made["request"] = CALL["request"] | made.get("request", {})
    if "response" in made:
        made["response"] |= {"status": 200, "time": NOON}
    return made


class TestTooLarge:
    def test_23_a_call_of_up_to_the_limit_is_kept_whole(self) -> None:
        body = json.dumps(large(request=("", None)))
        exact = large(request=("x" * (MIB - len(body)), None))
        assert len(json.dumps(exact)) == MIB
        assert not events("/v1/events", exact)[0].truncated
        over = large(request=("x" * (MIB - len(body) + 1), None))
        assert events("/v1/events", over)[0].truncated

    @pytest.mark.parametrize("side", ["request", "response"])
    @pytest.mark.parametrize(
        ("body", "encoding", "text"),
        [
            ({"a": "é" * MIB}, None, json.dumps({"a": "é" * MIB})),
            (["x" * MIB], "json", json.dumps(["x" * MIB])),
            ("x" * 2 * MIB, None, "x" * 2 * MIB),
            ("€" * MIB, "", "€" * MIB),
        ],
        ids=["object", "array", "text", "wide text"],
    )
    def test_23_a_larger_one_has_its_body_cut_to_base64_in_columns_and_payload(
        self, side: str, body: Any, encoding: Any, text: str
    ) -> None:
        (only,) = events("/v1/events", large(**{side: (body, encoding)}))
        assert only.truncated
        column, stored = getattr(only, f"{side}_body"), payload(only)[side]
        assert json.loads(bytes(column)) == stored["body"]
        assert getattr(only, f"{side}_encoding") == stored["transfer_encoding"] == "base64"
        kept = base64.b64decode(stored["body"], validate=True).decode()
        assert text.startswith(kept)
        assert KEPT - 8 <= len(stored["body"]) <= KEPT
        assert len(payload_text(only)) <= MIB

    def test_a_base64_body_stays_base64_that_can_be_decoded(self) -> None:
        whole = base64.encodebytes(bytes(range(256)) * 6000).decode()
        (only,) = events("/v1/events", large(response=(whole, "base64")))
        kept = payload(only)["response"]["body"]
        assert len(kept) == KEPT
        assert (bytes(range(256)) * 6000).startswith(base64.b64decode(kept, validate=True))

    def test_a_small_body_beside_a_large_one_is_kept(self) -> None:
        (only,) = events("/v1/events", large(request=({"a": 1}, "json"), response=("x" * 2 * MIB, None)))
        assert (only.request_body, only.request_encoding) == (Raw(b'{"a": 1}'), "json")
        assert payload(only)["request"]["body"] == {"a": 1}

    def test_the_larger_body_is_cut_first_and_the_other_only_if_need_be(self) -> None:
        (only,) = events("/v1/events", large(request=("x" * 500_000, None), response=("y" * 900_000, None)))
        assert (only.request_encoding, only.response_encoding) == (None, "base64")
        (only,) = events("/v1/events", large(request=("x" * 700_000, None), response=("y" * 900_000, None)))
        assert (only.request_encoding, only.response_encoding) == ("base64", "base64")
        assert len(payload_text(only)) <= MIB

    def test_credentials_in_it_are_replaced_and_the_rest_is_as_sent(self) -> None:
        (only,) = events("/v1/events", large(request=("x" * 2 * MIB, None)))
        assert b"secret" not in payload_text(only)
        assert payload(only)["session_token"] == only.session_token == HASHED("secret")
        assert payload(only)["metadata"] == {"k": 1}
        assert payload(only)["request"]["headers"]["X"] == "y"

    def test_the_elements_of_a_batch_are_cut_each_for_itself(self) -> None:
        small, big = CALL, large(request=("x" * 2 * MIB, None))
        first, second, third = events("/v1/events/batch", [small, big, small])
        assert [record.truncated for record in (first, second, third)] == [False, True, False]
        assert bytes(first.payload) == bytes(third.payload) == json.dumps(small).encode()  # type: ignore[arg-type]

    def test_what_is_still_too_large_without_its_bodies_is_refused(self) -> None:
        huge = large(request=("x" * MIB, None)) | {"metadata": {"k": "x" * MIB}}
        assert fault("/v1/events", huge) == (413, "payload_too_large", "$")
        assert fault("/v1/events/batch", [CALL, huge]) == (413, "payload_too_large", "$[1]")
        assert fault("/v1/events", CALL | {"metadata": {"k": "x" * MIB}})[0] == 413

    def test_half_a_character_in_a_body_is_a_fault_of_the_body(self) -> None:
        body = json.dumps(large(request=("HERE", None))).replace("HERE", "\\ud800" * MIB).encode()
        assert fault("/v1/events", body)[:2] == (400, "malformed_json")

    def test_camel_case_gives_way_to_the_new_encoding(self) -> None:
        event = CALL | {"request": CALL["request"] | {"body": "eHh4" * MIB, "transferEncoding": "base64"}}
        (only,) = events("/v1/events", event)
        assert payload(only)["request"]["transfer_encoding"] == "base64"
        assert "transferEncoding" not in payload(only)["request"]
        assert base64.b64decode(payload(only)["request"]["body"]) == b"x" * (KEPT // 4 * 3)

    def test_the_limit_is_a_setting_and_what_is_kept_goes_with_it(self) -> None:
        small = moesif(limits={"moesif_event_bytes_max": 64 * 1024})
        (only,) = events("/v1/events", large(request=("x" * 100_000, None)), dialect=small)
        assert len(payload(only)["request"]["body"]) == 450 * 64
        assert not events("/v1/events", large(request=("x" * 100_000, None)), dialect=MOESIF)[0].truncated

    def test_an_action_of_a_batch_is_bounded_by_the_batch_only(self) -> None:
        metadata = {"k": "x" * 2 * MIB}
        (only,) = events("/v1/actions/batch", [ACTION | {"metadata": metadata}])
        assert json.loads(bytes(only.properties)) == metadata
        assert fault("/v1/actions", ACTION | {"metadata": metadata})[0] == 413
