"""The templates' environment: undefined names fail, and a value can forge no Markdown, HTML or front matter."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from localpsych_recipes.progress import amount, duration
from localpsych_recipes.resources import resource

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_ACTIVE = re.compile(r"([\\`*_\[\]|~$#])")  # what Markdown acts on anywhere in a line, once < > & are escaped


def card(kind: str, front_matter: str, facts: Mapping[str, Any]) -> str:
    """The text of one card. front_matter: YAML, without its lines of dashes."""
    body = environment().get_template(f"{kind}.md.j2").render(facts)
    body = re.sub(r"\n{3,}", "\n\n", body).strip()
    return f"---\n{front_matter.strip()}\n---\n\n{body}\n"


@cache  # to compile the templates takes longer than to fill them in
def environment() -> Environment:
    """Every value that is not Markup is escaped. Filters: number, bytes, duration, code, literal, json, verbatim."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(resource("model_cards")),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"number": number, "bytes": _bytes, "duration": duration, "code": code}
    made.filters |= {"literal": literal, "verbatim": verbatim, "json": as_json}
    return made


def plain(value: Any) -> Any:
    """A value as one line of text that Markdown shows as it is. Markup, numbers and undefined values come through."""
    from markupsafe import Markup

    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = _ACTIVE.sub(r"\\\1", html.escape(_one_line(value), quote=False))
    return Markup("\\" + text if text[:1] in ("-", "+", "=") else text)


def code(value: Any) -> Markup:
    """A value as inline code, also inside a table."""
    from markupsafe import Markup

    return Markup("`" + _one_line(str(value)).replace("`", "'").replace("|", "\\|") + "`")


def literal(value: str) -> Markup:
    """A Python string literal that is safe inside a fenced block."""
    return as_json(value)


def as_json(value: Any) -> Markup:
    """One line of JSON that is safe inside a fenced block, and in a shell's here-document."""
    from markupsafe import Markup

    return Markup(json.dumps(value, ensure_ascii=False).replace("`", "\\u0060"))


def verbatim(value: str) -> Markup:
    """A name inside a fenced block."""
    from markupsafe import Markup

    return Markup(_one_line(value).replace("`", ""))


def number(value: float | int) -> Markup:
    """Counts with thousands separated, measures with four digits behind the point or four significant ones."""
    from markupsafe import Markup

    if isinstance(value, int):
        return Markup(f"{value:,}")
    return Markup(f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}")


def _bytes(count: int) -> str:
    return amount(count, "bytes")


def _one_line(text: str) -> str:
    """Without line ends and characters that are not seen, such as those that turn the direction of writing."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
