"""What every table of the file is made of: the base of all sections, and the kinds of values that many of them have."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from catchment.tokens import CHARS_MAX, CHARS_MIN

MIB = 1024 * 1024
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$"
HEADER_VALUE = r"^[\t -~]*$"
HOST_NAME = r"^[A-Za-z0-9_.-]{1,253}$"
SHA256_HEX = r"^[0-9a-f]{64}$"

Key = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]
Token = Annotated[str, Field(min_length=CHARS_MIN, max_length=CHARS_MAX, pattern=r"^[!-~]+$")]
TokenHash = Annotated[str, Field(pattern=SHA256_HEX)]
HostName = Annotated[str, Field(pattern=HOST_NAME)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
TimeWindow = Literal["flag", "reject"]
HeaderName = Annotated[str, Field(pattern=HEADER_NAME)]
HeaderValue = Annotated[str, Field(pattern=HEADER_VALUE)]


class Section(BaseModel):
    """A table of the file. Unknown keys are mistakes, so that a misspelt setting never passes for its default."""

    model_config = ConfigDict(extra="forbid", frozen=True)
