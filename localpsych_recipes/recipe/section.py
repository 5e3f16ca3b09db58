"""What every section of a recipe is: strict, closed, frozen, with rules that are all reported at once."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Strings = Annotated[tuple[str, ...], Field(strict=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
RepoName = Annotated[str, Field(pattern=r"^([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]{0,95}$")]
UNSEEN = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")  # Unicode's categories: controls, halves of characters, ends of lines
TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # of the direction of writing
LONGEST = 255  # bytes of a file's name on the file systems of Linux, macOS and Windows


def _place(text: str) -> str:
    if any(unicodedata.category(c) in UNSEEN or c in TURNS for c in text):
        raise ValueError("holds characters that are not seen, which no name needs")
    if any(len(part.encode()) > LONGEST for part in text.split("/")):
        raise ValueError(f"a name of more than {LONGEST} bytes")
    if text.startswith("-"):  # what it is handed to would take it for an option
        raise ValueError("begins with a dash; a file of that name is ./-...")
    if text.startswith("~") and os.path.expanduser(text) == text:
        raise ValueError("nobody's home; a path begins with ~/ or stands whole")
    return text


def _open_place(text: str) -> str:
    parts = PurePath(_place(text)).parts
    if "://" not in text and any(part.startswith(".") and part not in (".", "..") for part in parts):
        raise ValueError("a hidden file, or in a hidden folder, where keys and tokens lie; put the rows elsewhere")
    return text


def pattern_problem(pattern: str) -> str | None:
    """Why a text is no regular expression; None if it is one."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"not a regular expression ({error})"
    return None


# a path, a Hub id or an address: of a model, and of rows, which are learnt and may be published
Place = Annotated[str, Field(min_length=1), AfterValidator(_place)]
RowsPlace = Annotated[str, Field(min_length=1), AfterValidator(_open_place)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # as NumPy takes it
HubId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]


class Section(BaseModel):
    """Strict (no conversion between types), closed (no unknown key) and frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _rules(self):
        """Reports every contradiction of the section at once; `rules` yields "key: what is wrong" lines."""
        if problems := list(self.rules()):
            raise ValueError("\n".join(problems))
        return self

    def rules(self):
        """Cross-field rules as "key: message" strings. A section without any has this empty one."""
        return ()
