"""Where the recipes and card templates lie that come with the project."""

from __future__ import annotations

from pathlib import Path

from localpsych_recipes.errors import UserError

_PACKAGE = Path(__file__).resolve().parent


def resource(*parts: str) -> Path:
    """The file or folder `parts` of recipes/ or model_cards/, such as resource("model_cards", "adapter.md.j2").

    A wheel carries both folders inside the package; a checkout, and so an editable install, beside it. Raises UserError
    if it is in neither.
    """
    places = [_PACKAGE.joinpath(*parts), _PACKAGE.parent.joinpath(*parts)]
    for place in places:
        if place.exists():
            return place
    raise UserError(
        f"no {'/'.join(parts)} among the files that come with localpsych-recipes",
        f"it at {places[0]} or {places[1]}",
        "check its name, or install localpsych-recipes anew",
    )
