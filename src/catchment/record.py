"""The canonical record: what every accepted call becomes, and the only thing that anything behind the log knows.

One record is one line of JSON. `payload` is the element exactly as the vendor's client sent it (line breaks between
tokens become spaces, and credentials are replaced, see `pseudonym`), so a record loses nothing: the original can be
rebuilt, forwarded or decoded again. The other fields are what the store has columns for; those at their default are
left out of the line. docs/architecture.md describes every field.

Times are UTC. `received_us` is the arrival in microseconds since 1970; one edge never gives the same value twice and
never goes back, so it also orders the updates of a profile.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

EMPTY_OBJECT = Raw(b"{}")

Kind = Literal["action", "api_call", "event", "user", "company", "subscription", "rejection", "replay", "tally"]


class Record(Struct, omit_defaults=True, kw_only=True, gc=False):
    """What all records share. `event_id` is the vendor's id, or a UUIDv7 made at the edge where the vendor has none.
    `agent` is the JSON text of an `Agent`, what `user_agent` says; `place` of a `Place`, where `ip` is.
    `edge` and `tally` are the edge's side of the ledger, see `books`; a record of kind `tally` has nothing else."""

    app: str
    source: str
    kind: Kind
    event_id: str
    received_us: int
    payload: Raw | str
    ip: str | None = None
    user_agent: str | None = None
    agent: Raw | None = None
    place: Raw | None = None
    edge: str = ""
    tally: int = 0


class EventRecord(Record, omit_defaults=True, kw_only=True, gc=False):
    """Something that happened: a Moesif action or API call, a Batch trigger event, a Moloco user event.

    `undated` says that the client gave an id but need not give a time: two deliveries of one such event can carry
    different times, so the store must not use the time to tell events apart. `truncated` says that captured bodies
    were too large to be kept whole. `identity` is who it was by the vendor's own precedence, if not `user_id`.
    """

    name: str
    time: datetime
    undated: bool = False
    late: bool = False
    truncated: bool = False
    platform: str | None = None
    user_id: str | None = None
    identity: str | None = None
    anonymous_id: str | None = None
    company_id: str | None = None
    subscription_id: str | None = None
    session_token: str | None = None
    uri: str | None = None
    weight: int = 1
    properties: Raw = EMPTY_OBJECT
    tags: list[str] | None = None
    label: str | None = None
    # API calls
    verb: str | None = None
    status: int | None = None
    duration_ms: float | None = None
    response_time: datetime | None = None
    request_headers: Raw | None = None
    request_body: Raw | None = None
    request_encoding: str | None = None
    response_headers: Raw | None = None
    response_body: Raw | None = None
    response_encoding: str | None = None
    direction: str | None = None
    api_version: str | None = None
    blocked_by: str | None = None
    # Batch
    request_token: str | None = None
    platform_key_kind: str | None = None
    dates: dict[str, datetime] | None = None
    # Moloco
    items: list["Item"] | None = None
    revenue_amount: float | None = None
    revenue_currency: str | None = None
    shipping_amount: float | None = None
    shipping_currency: str | None = None
    channel: str | None = None
    decision_track_id: str | None = None
    device_id: str | None = None
    device_os: str | None = None
    search_query: str | None = None
    page_id: str | None = None
    referrer_page_id: str | None = None
    domain: str | None = None
    personalization_mode: str | None = None


class Item(Struct, omit_defaults=True, kw_only=True, gc=False):
    """One item of a Moloco event; `price` in units of `currency`, not in micros (contracts/moloco.md 2.3)."""

    id: str = ""
    item_group_id: str = ""
    price: float | None = None
    currency: str = ""
    quantity: int | None = None
    seller_id: str = ""


class ProfileRecord(Record, omit_defaults=True, kw_only=True, gc=False):
    """An update of a user, company or subscription (the kind tells which, and so whose id it needs) as leaves:
    (escaped path, JSON text of the value) pairs, see `profile_leaves`. A user may have an `anonymous_id` only."""

    user_id: str | None = None
    anonymous_id: str | None = None
    company_id: str | None = None
    subscription_id: str | None = None
    session_token: str | None = None
    leaves: list[tuple[str, str]]


class Agent(Struct, omit_defaults=True, kw_only=True, gc=False):
    """What a User-Agent string says; `""` where it does not say it."""

    name: str = ""
    version: str = ""
    os: str = ""
    os_version: str = ""
    device: str = ""


class Place(Struct, omit_defaults=True, kw_only=True, gc=False):
    """Where an IP address is; `country` is an ISO 3166-1 code of two letters."""

    country: str = ""
    region: str = ""
    city: str = ""
    latitude: float | None = None
    longitude: float | None = None


class RejectionRecord(Record, omit_defaults=True, kw_only=True, gc=False):
    """A refused request. `payload` is its body as text, cut at a bound, or `""` where no application was known. One
    that stands for many, of which nothing else is kept, has their `count`."""

    method: str
    route: str
    status: int
    code: str
    reason: str
    path: str = ""
    payload_bytes: int = 0
    count: int = 1


class ReplayRecord(Record, omit_defaults=True, kw_only=True, gc=False):
    """That a rejection was decoded again and its records were appended, together with this one. `event_id` is the
    rejection's id, `received_us` is when; `records` says how many there were, `fix` what was done to the body first."""

    records: int
    fix: str = ""


_ENCODER = msgspec.json.Encoder()


def encode_lines(records: list[Any]) -> bytes:
    """The records as NDJSON, one line each, every line ended by `\\n`."""
    return _ENCODER.encode_lines(records)


EMPTY_OBJECT_MARK = "%7B%7D"
LEAVES_MAX = 1000
PATH_CHARS_MAX = 1000
DEPTH_MAX = 64


class TooManyLeaves(ValueError):
    """A profile update is larger or deeper than a profile may be; the text says where it goes over which bound."""


def profile_leaves(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Flattens a profile update so that the latest arrival can win leaf by leaf (docs/decisions/0003).

    `null` members are left out, for null means "not given". Arrays are leaves: they replace each other whole. Keys are
    joined by `.`, with `%` and `.` inside a key written `%25` and `%2E`. An object that is empty, or of
    nulls only, becomes a leaf of its own below its path, so that it replaces a scalar but erases no sibling.

    Raises `TooManyLeaves` over `LEAVES_MAX` leaves, `PATH_CHARS_MAX` characters of a path, or `DEPTH_MAX` levels: a
    path is stored with each of its leaves, and folding compares the leaves of a profile.
    """
    leaves: list[tuple[str, str]] = []
    pending: list[tuple[str, dict[str, Any]]] = [("", document)]
    while pending:
        prefix, members = pending.pop()
        for key, value in members.items():
            if value is None:
                continue
            path = prefix + key.replace("%", "%25").replace(".", "%2E")
            if len(path) > PATH_CHARS_MAX or path.count(".") >= DEPTH_MAX or len(leaves) >= LEAVES_MAX:
                raise TooManyLeaves(
                    f"a profile update has at most {LEAVES_MAX} values, {DEPTH_MAX} levels and {PATH_CHARS_MAX}"
                    f" characters in a path; it goes over at {path[:80]!r}"
                )
            if not isinstance(value, dict):
                leaves.append((path, msgspec.json.encode(value).decode()))
            elif any(member is not None for member in value.values()):
                pending.append((path + ".", value))
            else:
                leaves.append((f"{path}.{EMPTY_OBJECT_MARK}", "{}"))
    return leaves
