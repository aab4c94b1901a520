"""Prints docs/configuration.md: run `python scripts/configuration_page.py > docs/configuration.md`.

The settings say everything about themselves but their unit, which is in their name, and their place in the file, which
is in `TABLES`. A table that stands in a list has no variable of its own: the list has.
"""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from catchment.settings import (
    BatchApp,
    CommonRetention,
    Condition,
    Console,
    EntityRule,
    ExpiringKey,
    Geo,
    Ingest,
    Limits,
    Loader,
    Log,
    Logging,
    MatchedCalls,
    MoesifApp,
    MoesifRetention,
    MolocoApp,
    Privacy,
    RateLimit,
    Retention,
    Rule,
    RuleResponse,
    RuleVariable,
    SampledCalls,
    SampledCondition,
    Section,
    Sql,
)

TABLES: dict[str, type[Section]] = {
    "ingest": Ingest,
    "console": Console,
    "log": Log,
    "loader": Loader,
    "sql": Sql,
    "limits": Limits,
    "privacy": Privacy,
    "geo": Geo,
    "retention": CommonRetention,
    "logging": Logging,
    "apps.NAME.moesif": MoesifApp,
    "apps.NAME.moesif.rate_limit": RateLimit,
    "apps.NAME.moesif.retention": MoesifRetention,
    "[apps.NAME.moesif.regex_config]": SampledCalls,
    "[apps.NAME.moesif.regex_config.conditions]": SampledCondition,
    "[apps.NAME.moesif.rules]": Rule,
    "[apps.NAME.moesif.rules.regex_config]": MatchedCalls,
    "[apps.NAME.moesif.rules.regex_config.conditions]": Condition,
    "apps.NAME.moesif.rules.response": RuleResponse,
    "[apps.NAME.moesif.rules.variables]": RuleVariable,
    "[apps.NAME.moesif.user_rules.ID]": EntityRule,
    "[apps.NAME.moesif.company_rules.ID]": EntityRule,
    "apps.NAME.batch": BatchApp,
    "apps.NAME.batch.rate_limit": RateLimit,
    "apps.NAME.batch.retention": Retention,
    "apps.NAME.moloco": MolocoApp,
    "apps.NAME.moloco.rate_limit": RateLimit,
    "apps.NAME.moloco.retention": Retention,
    "[apps.NAME.moloco.expiring_keys]": ExpiringKey,
}
# The end of a setting's name, without `_max` and `_min`, tells its unit; the longest that fits counts.
UNITS = {
    "bytes": "bytes",
    "ms": "milliseconds",
    "seconds": "seconds",
    "hours": "hours",
    "days": "days",
    "chars": "characters",
    "rows": "rows",
    "events": "events",
    "queries": "queries",
    "requests": "requests",
    "per_second": "a second",
    "workers": "processes",
    "connections": "connections",
    "per_minute": "a minute",
}
SIZES = {2**30: "GiB", 2**20: "MiB", 2**10: "KiB"}

HEAD = """\
<!-- Printed by scripts/configuration_page.py from src/catchment/settings/. Change them, not this page. -->

# Configuration

Catchment reads `catchment.toml` in its data dir. The first `catchment serve` writes the file, with one application
named `default` and fresh secrets. Whoever can read the file can send events; it is made readable by its owner only. Of
the console's token it has only the hash ([security.md](security.md#the-consoles-token)).

A setting that is not in the file has the default below, except `console.token_hash`, `privacy.hash_key` and the keys
of the applications, which have none. A key that is not a setting is a mistake, so that a misspelt one never passes for
its default. `catchment config check` names every mistake at once.

A running server takes a change of `[apps]`, `[limits]`, `[privacy]`, `ingest.trusted_proxies` and the console's token
within a few seconds, and answers the requests under way by the settings that they began with. Another certificate in
the files of `ingest.tls_cert` and `ingest.tls_key` is taken as well. If the file has mistakes, it names them and goes
on with the settings in use. How long things are kept is taken at the next midnight of UTC. Any other change takes
effect at the next start.

## What wins

The command line, else the environment, else the file, else the default.

- **Command line.** `catchment serve` has `--host`, `--port`, `--workers`, `--tls-cert` and `--tls-key` for
  `[ingest]`, and `--console-host` and `--console-port` for `[console]`. The data dir itself is `--data-dir`, else
  `CATCHMENT_DATA_DIR`, else `data` in the current folder.
- **Environment.** `CATCHMENT_`, then the table and the setting, joined by two underscores. Lists and tables are JSON;
  the members of a table are laid over those of the file. A variable finds an application or a platform of the file
  whatever the case of its letters; a new one gets small letters, unless JSON names it.
- **File.** TOML, as below.

A list from a stronger place replaces the whole list of a weaker one. Three
variables:

```sh
CATCHMENT_INGEST__PORT=9000
CATCHMENT_INGEST__TRUSTED_PROXIES='["10.0.0.0/8"]'
CATCHMENT_APPS='{"Partner": {"moesif": {"application_ids": ["partner-0123456789abcdef"]}}}'
```

## Example

Two applications. `shop` takes all three vendors and is rotating its Moesif application id: the old one and the new
one both work. `billing` takes Moesif only, no users and no actions, and refuses old events as the vendor would. Its
clients send every second call, but all of `acme`'s, and answer those of `initech` themselves.

```toml
[console]
token_hash = "6bb0c0d6fa3cbaffd4aeb3f1a6a1f7a0d3e18c6f7f5b6dd0a2f0b7e36b0f4a51"

[privacy]
hash_key = "b6a1e1f8c3d94f27a0"

[ingest]
host = "0.0.0.0"
workers = 4
trusted_proxies = ["10.0.0.0/8"]

[log]
keep_loaded_hours = 24

[apps.shop.moesif]
application_ids = ["shop-new-0123456789abcdef0123456789abcdef0123456789", "shop-old-0123456789abcdef"]

[apps.shop.moesif.retention]
events_days = 400
rejections_days = 60
bodies_days = 14

[apps.shop.batch]
rest_api_keys = ["0123456789abcdef0123456789abcdef"]
live = ["LIVE0123456789ABCDEF"]
dev = ["DEV0123456789ABCDEF"]

[apps.shop.moloco.platforms]
SHOP_WEB = ["key-of-the-web-shop"]
SHOP_APP = ["key-of-the-app", "its-next-key"]

[apps.billing.moesif]
application_ids = ["billing-0123456789abcdef0123456789abcdef0123456789"]
resources = ["events", "companies", "subscriptions"]
time_window = "reject"
time_window_days = 30
sample_rate = 50
company_sample_rate = { acme = 100 }

[[apps.billing.moesif.rules]]
id = "over-quota"
name = "Companies over their quota"
type = "company"
block = true
response = { status = 429, headers = { Retry-After = "3600" }, body = { error = "{{plan}} has no calls left" } }
variables = [{ name = "plan", path = "body.plan_name" }]

[apps.billing.moesif.company_rules]
initech = [{ rules = "over-quota", values = { plan = "Free" } }]
```

A key must lead to one application: the same Moesif application id, Batch API key or Moloco platform in two
applications is a mistake. A key has 1 to 512 characters, none of them white space. The name of an application, and
that of a platform, has 1 to 64 letters, digits, `-` and `_`; the application's is the column `app` of every view.
"""


class Row(NamedTuple):
    """One setting in words."""

    name: str
    sentence: str
    default: str
    bounds: str
    unit: str
    variable: str


def main() -> None:
    """Prints the page."""
    sys.stdout.write("\n".join(page_lines()))


def page_lines() -> Iterator[str]:
    """The page, line by line."""
    yield HEAD
    for table, section in TABLES.items():
        yield f"## {heading(table)}"
        yield ""
        yield one_line(section.__doc__ or "")
        yield ""
        yield "| setting | what | default | bounds | unit | environment |"
        yield "|---|---|---|---|---|---|"
        for name, field in section.model_fields.items():
            yield "| " + " | ".join(row(table, name, field)) + " |"
        yield ""


def heading(table: str) -> str:
    return f"[{table}]"


def row(table: str, name: str, field: FieldInfo) -> Row:
    unit = unit_of(name)
    return Row(
        f"`{name}`", one_line(field.description or ""), default_of(field, unit), bounds_of(field, unit), unit,
        variable_of(table, name, field),
    )  # fmt: skip


def unit_of(name: str) -> str:
    stem = name.removesuffix("_max").removesuffix("_min")
    fitting = [end for end in UNITS if stem == end or stem.endswith(f"_{end}")]
    return UNITS[max(fitting, key=len)] if fitting else ""


def default_of(field: FieldInfo, unit: str) -> str:
    if field.default_factory is not None:
        made: Any = field.default_factory()  # type: ignore[call-arg]
        if isinstance(made, list | dict):
            return ", ".join(f"`{value}`" for value in made) or "none"
        return "computed"  # from the machine that it runs on; the sentence says how
    if field.default is PydanticUndefined:
        return "must be given"
    if field.default is None or field.default == "":
        return "none"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return shown(field.default, unit) if isinstance(field.default, int | float) else f"`{field.default}`"


def bounds_of(field: FieldInfo, unit: str) -> str:
    """The bounds that are checked, or the words of a choice."""
    choices = get_args(field.annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return " or ".join(f"`{choice}`" for choice in choices)
    counted = ""
    lower, upper = "", ""
    for bound in field.metadata:
        if isinstance(bound, annotated_types.Ge):
            lower = f"at least {shown(bound.ge, unit)}"
        elif isinstance(bound, annotated_types.Gt):
            lower = f"more than {shown(bound.gt, unit)}"
        elif isinstance(bound, annotated_types.Le):
            upper = f"at most {shown(bound.le, unit)}"
        elif isinstance(bound, annotated_types.MinLen):
            lower, counted = f"at least {bound.min_length}", " characters" if field.annotation is str else " entry"
        elif isinstance(bound, annotated_types.MaxLen):
            upper = f"at most {bound.max_length}"
    bounds = ", ".join(word for word in (lower, upper) if word)
    if bounds.startswith("at least ") and lower and upper:
        bounds = bounds.removeprefix("at least ").replace(", at most ", " to ")
    return bounds + counted


def shown(value: Any, unit: str) -> str:
    """`64 MiB`, `100 000`, `0.5`."""
    if unit == "bytes" and value:
        for size, name in SIZES.items():
            if value % size == 0:
                return f"{value // size} {name}"
    spaced = value >= 10_000 if unit else value >= 100_000  # and so no port
    return f"{value:,}".replace(",", " ") if spaced else f"{value:g}"


def variable_of(table: str, name: str, field: FieldInfo) -> str:
    """Its name; lists and tables are JSON there. The members of a table that is described here have their own."""
    if in_a_list(table) or f"{table}.{name}" in TABLES:
        return ""
    variable = f"`CATCHMENT_{table.upper().replace('.', '__')}__{name.upper()}`"
    return f"{variable}, JSON" if str(field.annotation).startswith(("list", "dict")) else variable


def in_a_list(table: str) -> bool:
    """Whether the table, or one that it is in, is among others in a list."""
    names = table.strip("[]").split(".")
    return any(f"[{'.'.join(names[:end])}]" in TABLES for end in range(1, len(names) + 1))


def one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
