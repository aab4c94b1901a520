"""The keys of each application, as `catchment keys` prints them. The console's token is not among them: only its hash
is kept."""

from typing import Any

from catchment.settings import App, Settings


def of_apps(settings: Settings) -> list[dict[str, Any]]:
    """One object per application; of several keys of a kind, the first."""
    return [
        {
            "app": name,
            "moesif": _moesif(app),
            "batch": _batch(app),
            "moloco": _moloco(app),
        }
        for name, app in settings.apps.items()
    ]


def _moesif(app: App) -> dict[str, str] | None:
    return {"application_id": app.moesif.application_ids[0]} if app.moesif else None


def _batch(app: App) -> dict[str, str | None] | None:
    if app.batch is None:
        return None
    kinds = {"live": app.batch.live, "dev": app.batch.dev, "sdk": app.batch.sdk}
    return {"rest_api_key": app.batch.rest_api_keys[0]} | {kind: next(iter(keys), None) for kind, keys in kinds.items()}


def _moloco(app: App) -> dict[str, str | None] | None:
    if app.moloco is None:
        return None
    platform, lasting = next(iter(app.moloco.platforms.items()))
    expiring = [key.key for key in app.moloco.expiring_keys if key.platform == platform]
    return {"platform": platform, "api_key": next(iter([*lasting, *expiring]), None)}
