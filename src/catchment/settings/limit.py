"""The limit of requests that a source of an application may have."""

from typing import Self

from pydantic import Field, model_validator

from catchment.settings.section import Section

YEAR_S = 366 * 24 * 3600


class RateLimit(Section):
    """How many requests a source of an application may send, over all edge processes; only calls that write count."""

    requests_per_second: float = Field(
        0, ge=0, le=1_000_000, description="Requests a second that are taken in the long run; 0 is no limit."
    )
    burst_requests: int = Field(
        0,
        ge=0,
        le=100_000_000,
        description="Requests that may come at once after a pause; 0 is as many as in one second.",
    )

    @model_validator(mode="after")
    def _is_full_within_a_year(self) -> Self:
        if self.requests_per_second and self.burst_requests / self.requests_per_second > YEAR_S:
            raise ValueError("burst_requests must come back within a year: raise requests_per_second")
        return self
