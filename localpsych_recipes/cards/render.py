"""The templates' environment: undefined names fail, and a value can forge no Markdown, HTML or front matter."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from localpsych_recipes.progress import amount, duration
from localpsych_recipes.resources import resource

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_ACTIVE = re.compile(r"([\\`*_\[\]|~$#])")  # what Markdown acts on anywhere in a line, once < > & are escaped
# what GitHub's Markdown, and so the Hub, makes a link of without being asked; a number that would begin a list
_LINKED = re.compile(r":(?=//)|(?<=www)\.|@|(?<=mailto):|(?<=xmpp):", re.IGNORECASE)
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def card(kind: str, front_matter: str, facts: Mapping[str, Any]) -> str:
    """The text of one card. front_matter: YAML, without its lines of dashes."""
    body = environment().get_template(f"{kind}.md.j2").render(facts)
    body = re.sub(r"\n{3,}", "\n\n", body).strip()
    return f"---\n{front_matter.strip()}\n---\n\n{body}\n"


@cache  # to compile the templates takes longer than to fill them in
def environment() -> Environment:
    """Every value that is not Markup is escaped. Filters: number, bytes, duration, code,
    cited, literal, json, verbatim, link."""
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
    made.filters |= {"number": number, "bytes": _bytes, "duration": duration, "code": code, "cited": cited}
    made.filters |= {"literal": literal, "verbatim": verbatim, "json": as_json, "link": link}
    return made


def plain(value: Any) -> Any:
    """A value as one line of text that Markdown shows as it is. Markup, numbers and undefined values come through."""
    from markupsafe import Markup

    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = _NUMBERED.sub(r"\1\\\2", _LINKED.sub(r"\\\g<0>", _shown(value)))
    return Markup("\\" + text if text[:1] in ("-", "+", "=") else text)


def cited(value: str) -> Markup:
    """This project's own words in the middle of a line, whose addresses become links."""
    from markupsafe import Markup

    return Markup(_shown(value))


def _shown(value: str) -> str:
    return _ACTIVE.sub(r"\\\1", html.escape(_one_line(value), quote=False))


def code(value: Any) -> Markup:
    """A value as inline code, also inside a table."""
    from markupsafe import Markup

    text = (
        _one_line(str(value)).replace("`", "'") or " "
    )  # two signs with nothing between them would open a longer span
    return Markup("`" + re.sub(r"\\*\|", r"\\|", text) + "`")  # a pair of \ in a table would leave the | free


def literal(value: str | bool) -> Markup:
    """A Python literal that is safe inside a fenced block."""
    from markupsafe import Markup

    return Markup(repr(value)) if isinstance(value, bool) else _seen(value, lambda c: f"\\U{ord(c):08x}")


def as_json(value: Any) -> Markup:
    """One line of JSON that is safe inside a fenced block, and in a shell's here-document; what is not seen is escaped."""
    return _seen(value, lambda c: json.dumps(c)[1:-1])


def _seen(value: Any, far: Callable[[str], str]) -> Markup:
    """JSON in which what is not seen is escaped. far: how a character beyond the first 65,536 is written."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False).replace("`", "\\u0060")
    return Markup("".join(c if c.isprintable() else far(c) if c > "\uffff" else f"\\u{ord(c):04x}" for c in text))


def verbatim(value: str) -> Markup:
    """A name inside a fenced block."""
    from markupsafe import Markup

    return Markup(_one_line(value).replace("`", ""))


def link(address: str) -> Markup:
    """An address as the destination of a link, whose end no sign in it can be taken for."""
    from markupsafe import Markup

    return Markup(html.escape(quote(address, safe="%/:?#@!$&'*+,;=~", errors="replace")))


def percent(share: float) -> str:
    """A share in per cent, with one digit behind the point; with more where something would look like nothing, or less
    than all like all."""
    digits = range(1, 9) if 1e-9 < share < 1 - 1e-9 else (1,)
    texts = [f"{100 * share:.{n}f}" for n in digits]
    return next((text for text in texts if float(text) not in (0, 100)), texts[0])


def number(value: float | int) -> Markup:
    """Counts with thousands separated, measures with four digits behind the point or four significant ones."""
    from markupsafe import Markup

    if isinstance(value, int) or 1000 <= abs(value) < 1e9:
        return Markup(f"{value:,.0f}")
    return Markup(f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}")


def _bytes(count: int) -> str:
    return amount(count, "bytes")


def _one_line(text: str) -> str:
    """Without line ends and characters that are not seen, such as those that turn the direction of writing."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
