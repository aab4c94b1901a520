"""SQL lives in files, one named query each; values are bound, never pasted."""

from functools import cache
from importlib import resources


@cache
def text(name: str) -> str:
    """The query in `NAME.sql`, without its leading comment."""
    return (resources.files(__name__) / f"{name}.sql").read_text("utf-8")
