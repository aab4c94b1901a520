"""The settings of the server itself: where it listens, its log, loader and queries, and its bounds."""

import os
from typing import Literal, Self

from pydantic import Field, model_validator

from catchment.settings.section import MIB, HostName, Key, Section, Token, TokenHash
from catchment.tokens import token_hash


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
    tls_cert: str | None = Field(
        None, description="Certificate chain (PEM) for HTTPS on both ports; another one in this file is taken as it is."
    )
    tls_key: str | None = Field(None, description="Private key (PEM) of the certificate.")
    connections_max: int = Field(
        4096, ge=1, le=65536, description="Connections one edge process serves at a time, idle ones too; more wait."
    )
    open_requests_max: int = Field(
        1024, ge=1, le=65536, description="Requests under way in one edge process; it answers 503 to more."
    )
    bodies_bytes_max: int = Field(
        64 * MIB,
        ge=MIB,
        le=65536 * MIB,
        description="Bytes of the bodies under way in one edge process; more get 503, but never a single one.",
    )
    body_seconds_max: float = Field(60, gt=0, le=3600, description="Time for a body to arrive, else 408.")
    head_bytes_max: int = Field(
        32 * 1024,
        ge=8192,
        le=MIB,
        description="Bytes of a request's first line and header fields, else 431; also what one connection buffers.",
    )
    head_seconds_max: float = Field(
        30,
        gt=0,
        le=3600,
        description="Time for a request's head to arrive, and for a connection to be idle; then it is closed.",
    )
    http2: bool = Field(
        False, description="Whether HTTP/2 is spoken too; its connections may stay silent for as long as they like."
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
    token_hash: TokenHash | None = Field(
        None, description="SHA-256 of the bearer token, in hexadecimal; `catchment token` makes one and writes this."
    )
    token: Token | None = Field(
        None, description="The bearer token itself, where settings come from a store of secrets; keep only one of both."
    )
    hosts: list[HostName] = Field(
        default_factory=list,
        description="Names by which browsers and clients reach this port, besides `host`, localhost and IP addresses.",
    )
    failed_logins_per_minute_max: int = Field(
        10, ge=1, le=1_000_000, description="Wrong tokens from one address in a minute; then it is answered 429."
    )

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token and self.token_hash:
            raise ValueError("token and token_hash are both given; keep one of them, in the file or the environment")
        if not self.token and not self.token_hash:
            raise ValueError("token_hash is missing; `catchment token` makes a token and writes its hash")
        return self

    @property
    def kept_hash(self) -> str:
        """The hash of the token, whichever of both is given."""
        return self.token_hash or token_hash(self.token or "")


class Log(Section):
    """The durable log between edge and core."""

    segment_bytes_max: int = Field(
        64 * MIB, ge=4096, le=4096 * MIB, description="A segment is closed once it holds this many bytes."
    )
    segment_hours_max: float = Field(
        24, gt=0, le=24 * 366, description="A segment is closed once it is so old, so that it can be removed."
    )
    unsynced_bytes_max: int = Field(
        64 * MIB,
        ge=MIB,
        le=4096 * MIB,
        description="Bytes waiting for fsync in one edge process before it answers 503.",
    )
    keep_loaded_hours: float = Field(
        0, ge=0, le=24 * 366, description="How long a segment stays after the store has all of it, while there is room."
    )
    bytes_max: int = Field(
        65536 * MIB,
        ge=MIB,
        description="Bytes that wait in all folders of the log to be loaded; with more, the edge answers 503.",
    )
    free_bytes_min: int = Field(
        512 * MIB, ge=0, description="Bytes free on the disk of the data dir; with less, the edge answers 503."
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
    answer_bytes_max: int = Field(
        64 * MIB, ge=65_536, description="Bytes that one answer may have, in memory and as JSON."
    )
    queries_max: int = Field(4, ge=1, le=64, description="Queries that run at one time; more wait.")
    queries_waiting_max: int = Field(32, ge=0, le=10_000, description="Queries that wait; more are answered 503.")


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
    json_values_max: int = Field(
        1_000_000,
        ge=1000,
        le=100_000_000,
        description="JSON values of a body, or of its parts that are taken apart; each may cost 150 bytes of memory.",
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
