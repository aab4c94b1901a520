"""The settings of an application: the keys and rules of its Batch and Moloco clients, and its parts together."""

from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from catchment.settings.limit import RateLimit
from catchment.settings.moesif import MoesifApp
from catchment.settings.retention import Retention
from catchment.settings.section import Key, Name, Section, TimeWindow


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
    retention: Retention | None = Field(None, description="How long what was sent is kept.")
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
    retention: Retention | None = Field(None, description="How long what was sent is kept.")

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
