"""Text as its writer meant it: HTML becomes text, wrongly decoded characters and odd spaces are mended."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import ftfy
from inscriptis import get_text
from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.html_properties import Display
from inscriptis.model.config import ParserConfig
from inscriptis.model.html_element import HtmlElement
from lxml.html.defs import tags as HTML_TAGS

MOJIBAKE_ALONE = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
# no-break, figure and narrow no-break space; zero-width space, word joiner and byte-order mark. The zero-width joiners
# stay: emoji and several scripts are written with them
SPACES = str.maketrans({0xA0: " ", 0x2007: " ", 0x202F: " ", 0x200B: "", 0x2060: "", 0xFEFF: ""})
# every wrong decoding of UTF-8 leaves letters or signs beyond these: general punctuation, symbols, emoji
_MAY_BE_WRONG = re.compile(r"[^\x00-\x7f\u2000-\u206f\u2600-\u27bf\ufe0f\U0001f300-\U0001faff]")

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]*);")
# elements of HTML and of the XML that word processors paste; any other "<" is a character of the text
_ELEMENTS = "|".join((*sorted(HTML_TAGS), "xml", r"[omvw]:\w+", r"st1:\w+"))
_TAG = re.compile(
    rf"</?(?:{_ELEMENTS})(?=\s*/?>|\s+[\w:-]+\s*(?:[=\"']|/?>))(?:\"[^\"]*\"|'[^']*'|[^'\">])*>", re.IGNORECASE
)
_UNSEEN = re.compile(r"<!--.*?-->|<!(?:\[|doctype\b)[^>]*>|<\?xml[^>]*>", re.IGNORECASE | re.DOTALL)
_CONFIG = ParserConfig(
    css=CSS_PROFILES["strict"]
    | {name: HtmlElement(display=Display.none) for name in ("xml", "object", "svg", "template")}
    | {name: HtmlElement(display=Display.block) for name in ("ul", "ol")}  # without the indentation
)


def from_html(text: str) -> str:
    """Text of an HTML fragment. Paragraphs, line breaks and list items keep their lines, links their words.

    Images, scripts, styles and comments go, entities become characters, doubly escaped markup counts as markup. Text
    without any of these comes back as it is: "I <3 you & me" is text.
    """
    return _until_it_stays(_one_level_of_html, text)


def repair(text: str) -> str:
    """Text whose wrongly decoded characters are mended and whose non-breaking spaces are plain ones.

    Quotes, ligatures, widths, entities and composed characters stay as they are.
    """
    return text if text.isascii() else _until_it_stays(_repaired, text)


def _until_it_stays(change: Callable[[str], str], text: str) -> str:
    while (changed := change(text)) != text:
        text = changed
    return text


def _repaired(text: str) -> str:
    return (ftfy.fix_text(text, MOJIBAKE_ALONE) if _MAY_BE_WRONG.search(text) else text).translate(SPACES)


def _one_level_of_html(text: str) -> str:
    text = _UNSEEN.sub("", _until_it_stays(_without_entities, text))
    if not _TAG.search(text):
        return text
    lines = get_text(_between_tags(_escaped, text), _CONFIG).split("\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).strip()


def _without_entities(text: str) -> str:
    return _between_tags(lambda part: _ENTITY.sub(lambda found: html.unescape(found[0]), part), text)


def _escaped(text: str) -> str:
    """So that neither a "<3" nor a "&copy" of the text is taken for markup; inscriptis resolves entities twice."""
    return text.replace("&", "&amp;amp;").replace("<", "&lt;")


def _between_tags(change: Callable[[str], str], text: str) -> str:
    """Changes the text alone: an entity in an attribute, resolved, would end the attribute."""
    changed, at = "", 0
    for tag in _TAG.finditer(text):
        changed += change(text[at : tag.start()]) + tag[0]
        at = tag.end()
    return changed + change(text[at:])
