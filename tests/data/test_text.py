"""HTML becomes text and wrongly decoded text is mended; whatever is neither comes back as it was."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from localpsych_recipes.data.text import from_html, repair

COUNSEL_CHAT = Path(__file__).resolve().parents[3] / "shared" / "data" / "counsel_chat"
PLAIN = (
    "I <3 you & me",
    "if a<b && c>d or x <b then",
    "two\nlines,  two spaces\n\n\n and a tab\there",
    "  <name> said: 3 < 4 > 2",
    "R&D; AT&T &copy without an end",
    "an arrow --> and <!-- no end",
    "",
)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>One.</p><p>Two.</p>", "One.\n\nTwo."),
        ("<p>One.</p>\n<p><br></p>\n<p>Two.</p>", "One.\n\nTwo."),
        ("One<br>two<br/>three", "One\ntwo\nthree"),
        ("<div>One</div><div>two</div>", "One\ntwo"),
        ("Try:<ul><li>sleep</li><li>a <b>walk</b></li></ul>Then rest.", "Try:\n* sleep\n* a walk\nThen rest."),
        ("<ol><li>sleep</li><li>walk</li></ol>", "1. sleep\n2. walk"),
        ('<p>See <a href="https://example.org/?a=1&amp;b">this page</a>.</p>', "See this page."),
        ('<p>x<img src="data:image/png;base64,iVBORw0KGgo=" alt="a cat">y</p>', "xy"),
        ("<style>p {color: red}</style><script>if (a < b) x()</script><p>z</p><!-- <p>no</p> -->", "z"),
        ("<!--[if gte mso 9]><xml>a</xml><![endif]--><xml><w:View>Normal</w:View></xml><o:p></o:p>b", "b"),
        ("<p>Tom &amp; I &lt;3 caf&eacute;s &#8211; &quot;so&quot;</p>", 'Tom & I <3 cafés – "so"'),
        ('<p style="font: &quot;Arial&quot;">no quote ends it</p>', "no quote ends it"),
        (
            '<span helvetica","sans-serif";mso:="" "times="" style="x">pasted from an editor</span>',
            "pasted from an editor",
        ),
        ("&lt;p&gt;escaped&lt;/p&gt;&lt;p&gt;as a whole&lt;/p&gt;", "escaped\n\nas a whole"),
        ("<p>Dear <name>, R&D and &copy are words, and 1 < 2</p>", "Dear <name>, R&D and &copy are words, and 1 < 2"),
        ("no tag &amp; one\n\nentity", "no tag & one\n\nentity"),
    ],
)
def test_markup_becomes_the_text_that_a_reader_saw(markup, text) -> None:
    assert from_html(markup) == text
    assert from_html(text) == text


@pytest.mark.parametrize("text", PLAIN)
def test_text_without_markup_comes_back_as_it_is(text) -> None:
    assert from_html(text) == text


@pytest.mark.skipif(not COUNSEL_CHAT.is_dir(), reason="needs ../shared")
def test_html_answers_of_counsellors_read_as_the_text_that_was_published_of_them() -> None:
    """1,367 of these answers are in the plain-text file of 2020 too; a few differ there by more than their markup."""
    csv.field_size_limit(10**8)
    marked, plain = (answers(name) for name in ("counselchat-data.csv", "20200325_counsel_chat.csv"))
    texts = [from_html(answer) for answer in marked]
    assert len(texts) == 1482 and texts == [from_html(text) for text in texts]
    published = set(map(words, plain))
    assert sum(words(text) in published for text in texts) >= 0.99 * 1367
    assert not [t for t in texts if re.search(r"</?(p|br|span|div|li|o:p)\b|data:image|mso-|&nbsp;", t)]


def answers(name: str) -> list[str]:
    with (COUNSEL_CHAT / name).open(encoding="utf-8", newline="") as file:
        return [row["answerText"] or "" for row in csv.DictReader(file)]


def words(text: str) -> str:
    return re.sub(r"\W+", "", repair(text)).lower()


@pytest.mark.parametrize(
    "text", ["It’s “fine” – really…", "El niño está así, ¿no?", "naïve café", "I’m here 🙂", "Zwölf Größen"]
)
@pytest.mark.parametrize("wrong", ["sloppy-windows-1252", "latin-1"])  # the first is cp1252 as browsers read it
def test_text_decoded_wrongly_reads_again_as_it_was_written(text, wrong) -> None:
    garbled = text.encode("utf-8").decode(wrong)
    assert garbled != text and repair(garbled) == text


def test_text_decoded_wrongly_twice_is_mended_too() -> None:
    garbled = "I can’t sleep"
    for _ in range(2):
        garbled = garbled.encode("utf-8").decode("cp1252")
    assert repair(garbled) == "I can’t sleep"


@pytest.mark.parametrize(
    "text",
    [
        "It’s “curly” and 'straight'",
        "ﬁne ligatures, ｆｕｌｌ width, ﾊﾝｶｸ",
        "&eacute; stays an entity, and so does &nbsp;",
        "cafe\u0301 and caf\u00e9: composed and not",
        "10³ m², ½, ™, Ångström",
        "line\r\nends \u2028 stay",
        "👩\u200d👩\u200d👧 and می\u200cخواهم are joined by characters without width",
    ],
)
def test_nothing_else_is_changed(text) -> None:
    assert repair(text) == text


def test_odd_spaces_become_plain_ones_or_go() -> None:
    assert repair("a\u00a0b\u202f!\u2007c") == "a b ! c"
    assert repair("\ufeffsu\u200bper\u2060b") == "superb"


def test_mended_text_stays_as_it_is() -> None:
    for text in ("Itâ€™s\u00a0so", "Ã©tÃ©", "caf\u00c3\u00a9 \u200b?", "Â\u00a0x", "plain", *PLAIN):
        assert repair(repair(text)) == repair(text)
