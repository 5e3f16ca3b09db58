"""What every section of a recipe is: strict, closed, frozen, with rules that are all reported at once."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Strings = Annotated[tuple[str, ...], Field(strict=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
RepoName = Annotated[str, Field(pattern=r"^([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]{0,95}$")]
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
