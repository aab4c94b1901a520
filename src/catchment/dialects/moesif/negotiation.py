"""What HTTP itself lets a client ask of an answer: `Accept` and `If-None-Match` (RFC 9110 12.5.1 and 13.1.2)."""

from functools import lru_cache

_CACHED_HEADERS_MAX = 256
# The ranges that JSON is in, the more specific the later; Java's own client writes `*`.
_RANGES = {"*": 1, "*/*": 1, "application/*": 2, "application/json": 3}


@lru_cache(_CACHED_HEADERS_MAX)
def accepts_json(accept: str) -> bool:
    """Whether `Accept` lets JSON through: of the ranges that it is in, the most specific decides, unless by `q=0`."""
    if not accept.strip():
        return True
    best = (0, False)
    for part in accept.split(","):
        media_range, *parameters = (word.strip().lower() for word in part.split(";"))
        best = max(best, (_RANGES.get(media_range, 0), not any(map(_is_zero_quality, parameters))))
    return best[0] > 0 and best[1]


def _is_zero_quality(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip() in ("0", "0.", "0.0", "0.00", "0.000")


def is_current(if_none_match: str | None, tag: str) -> bool:
    """Whether the client has this version: by its tag, quoted or not (litellm sends it bare), one of a list, or `*`."""
    if not if_none_match:
        return False
    given = (part.strip().removeprefix("W/").strip('"') for part in if_none_match.split(","))
    return any(part in ("*", tag) for part in given)
