"""Every setting: its name, unit, bounds, default and one sentence. docs/configuration.md is generated from here.

Pure values; `config` reads them from `catchment.toml` and the environment. A limit on everything that a sender or a
full disk could make grow, with the unit in its name.
"""

from typing import Self

from pydantic import Field, model_validator

from catchment.settings.apps import App, BatchApp, ExpiringKey, MolocoApp
from catchment.settings.limit import RateLimit
from catchment.settings.logs import Logging
from catchment.settings.moesif import (
    CONDITION_PATH,
    MOESIF_RESOURCES,
    SAMPLED_PATH,
    VARIABLE_NAME,
    Condition,
    EntityRule,
    MatchedCalls,
    MoesifApp,
    Rule,
    RuleResponse,
    RuleVariable,
    SampledCalls,
    SampledCondition,
)
from catchment.settings.retention import CommonRetention, MoesifRetention, Retention
from catchment.settings.section import (
    HEADER_NAME,
    HEADER_VALUE,
    HOST_NAME,
    MIB,
    SHA256_HEX,
    Name,
    Section,
    TimeWindow,
)
from catchment.settings.server import Console, Geo, Ingest, Limits, Loader, Log, Privacy, Sql

__all__ = [
    "CONDITION_PATH",
    "HEADER_NAME",
    "HEADER_VALUE",
    "HOST_NAME",
    "MIB",
    "MOESIF_RESOURCES",
    "SAMPLED_PATH",
    "SHA256_HEX",
    "VARIABLE_NAME",
    "App",
    "BatchApp",
    "CommonRetention",
    "Condition",
    "Console",
    "EntityRule",
    "ExpiringKey",
    "Geo",
    "Ingest",
    "Limits",
    "Loader",
    "Log",
    "Logging",
    "MatchedCalls",
    "MoesifApp",
    "MoesifRetention",
    "MolocoApp",
    "Name",
    "Privacy",
    "RateLimit",
    "Retention",
    "Rule",
    "RuleResponse",
    "RuleVariable",
    "SampledCalls",
    "SampledCondition",
    "Section",
    "Settings",
    "Sql",
    "TimeWindow",
]


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
    retention: CommonRetention = Field(default_factory=CommonRetention)
    logging: Logging = Field(default_factory=Logging)
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
