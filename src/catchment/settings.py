"""Every setting: its name, unit, bounds, default and one sentence. docs/configuration.md is generated from here.

Pure values; `config` reads them from `catchment.toml` and the environment. A limit on everything that a sender or a
full disk could make grow, with the unit in its name.
"""

import os
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MIB = 1024 * 1024

Key = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
TimeWindow = Literal["flag", "reject"]


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
        1 * MIB, ge=1024, description="Body of `/v1/events`, `/v1/actions`, one profile."
    )
    moesif_events_batch_bytes_max: int = Field(12 * MIB, ge=1024, description="Body of `/v1/events/batch`.")
    moesif_actions_batch_bytes_max: int = Field(15 * MIB, ge=1024, description="Body of `/v1/actions/batch`.")
    moesif_profiles_batch_bytes_max: int = Field(12 * MIB, ge=1024, description="Body of `/v1/users/batch`.")
    moesif_batch_elements_max: int = Field(50_000, ge=1, description="Elements of one Moesif batch.")
    batch_body_bytes_max: int = Field(16 * MIB, ge=1024, description="Body of a Batch request.")
    batch_events_max: int = Field(1000, ge=1, description="Events of one Batch request over all users.")
    batch_event_name_chars_max: int = Field(64, ge=1, description="Characters of a Batch event name after `ue.`.")
    moloco_body_bytes_max: int = Field(1 * MIB, ge=1024, description="Body of a Moloco user event.")
    rejection_bytes_max: int = Field(64 * 1024, ge=0, description="Bytes of a refused body that are kept.")
    rejections_per_minute_max: int = Field(
        1000, ge=0, description="Rejections one edge process stores in a minute; more are only counted."
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


class MoesifApp(Section):
    """Keys and rules of an application's Moesif clients."""

    application_ids: list[Key] = Field(
        min_length=1,
        description="Accepted `X-Moesif-Application-Id`; moesif-nodejs wants 50 characters at least.",
    )
    time_window: TimeWindow = Field("flag", description="An event outside the window is stored as late, or refused.")
    time_window_days: float = Field(7, gt=0, le=36_500, description="How old an event may be.")


class BatchApp(Section):
    """Keys and rules of an application's Batch.com clients."""

    rest_api_keys: list[Key] = Field(min_length=1, description="Accepted `X-Authorization`.")
    live: list[Key] = Field(default_factory=list, description="Live API keys, in the path.")
    dev: list[Key] = Field(default_factory=list, description="Dev API keys, in the path.")
    sdk: list[Key] = Field(default_factory=list, description="SDK API keys, in the path.")
    time_window: TimeWindow = Field("flag", description="An event outside the window is stored as late, or refused.")
    time_window_hours: float = Field(24, gt=0, le=876_000, description="How old an event may be.")
    time_ahead_seconds: float = Field(60, ge=0, description="How far a sender's clock may be ahead.")


class MolocoApp(Section):
    """Keys and rules of an application's Moloco clients."""

    platforms: dict[Name, list[Key]] = Field(
        min_length=1, description="Platform ids, each with its accepted `x-api-key`."
    )
    time_ahead_seconds: float = Field(300, ge=0, description="How far a sender's clock may be ahead.")


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
