"""How long what arrived is kept: by application and source, and for calls that no application's key came with.

Days are whole days of UTC, counted from the arrival: what came on a day goes when so many full days are over behind it.
"""

from pydantic import Field

from catchment.settings.section import Section

DAYS_MAX = 36_500


class Retention(Section):
    """How long what an application's source sent is kept, by its arrival; without this table, for ever."""

    events_days: int = Field(0, ge=0, le=DAYS_MAX, description="How long events are kept; 0 is for ever.")
    rejections_days: int = Field(0, ge=0, le=DAYS_MAX, description="How long refused calls are kept; 0 is for ever.")


class MoesifRetention(Section):
    """The same for Moesif's clients, and for what API calls carried."""

    events_days: int = Field(0, ge=0, le=DAYS_MAX, description="How long events are kept; 0 is for ever.")
    rejections_days: int = Field(0, ge=0, le=DAYS_MAX, description="How long refused calls are kept; 0 is for ever.")
    bodies_days: int = Field(
        0,
        ge=0,
        le=DAYS_MAX,
        description="How long bodies, headers and `payload` of API calls are kept; 0 is as long as the event.",
    )


class CommonRetention(Section):
    """How long what belongs to no application is kept. `[apps.NAME.SOURCE.retention]` has the rest."""

    unauthenticated_days: int = Field(
        30, ge=0, le=DAYS_MAX, description="How long refused calls without a valid key are kept; 0 is for ever."
    )
