"""Whatever a stranger's names hold, a card has the same headings, tables, links, pictures, tags and keys."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from finished_run import OWNER, PAIRS, finished_run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import BaseModel

from localpsych_recipes.cards import facts, metadata, render
from localpsych_recipes.cards.render import code, plain

MARK = "outsideword"  # stands wherever a stranger's word can stand, and is replaced by what is hostile
REPOSITORIES = {kind: f"alice/{MARK}-{kind}" for kind in ("adapter", "merged", "gguf", "pairs")}
OVERRIDES = (
    f"description={MARK}", f"card.title={MARK}", f"data.system={MARK}", f'card.tags=["{MARK}"]', f'card.language=["{MARK}"]',
    json.dumps({"prompt": f"{{{MARK}}} asks", "chosen": f"{{{MARK}2}}!", "rejected": f"{MARK}3"}).join(("data.columns=", "")),
    f'data.labels={{"{MARK}2": {{"0": "{MARK}"}}}}', f"lora.target_modules={MARK}", "push.private=false",
)  # fmt: skip
FORGERIES = (
    "\n# Heading", "\n---\nlicense: mit\n---\n", "a | b", "\\| b", "\\", "", "`", "``` \n", "~~~\n", "![i](http://e.org/i.png)",
    "[l](http://e.org)", "<img src=http://e.org>", "<!--", "</details>", "&lt;b&gt;", "https://e.org", "www.e.org", "a@e.org",
    "\n\n    code", "1. a", "10) a", "- a", "> a", "===", "\n---", "[x]: http://e.org", "a) ![", "a b)", "{{ recipe }}", "{% x %}",
    "\x1b[31m", "\u202e", "\ud800", "\u2028# x", "\r# x", "a: b", "'", '"', "!!python/name:os.system", "*a", "&a", "$$", "<http://e.org>",
)  # fmt: skip
HOSTILE = st.lists(st.sampled_from(FORGERIES) | st.text(max_size=5), min_size=1, max_size=3).map("".join)
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


class Told(dict):
    """A kind's facts; a failure does not print the help lines of the world."""

    def __repr__(self) -> str:
        return "the facts"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """Everything that the cards of a whole release are told, by kind."""
    pins = {"base": {"license": "other", "license_name": MARK, "license_link": f"https://e.org/{MARK}"},
            "dataset": {"id": f"alice/{MARK}", "license": MARK}}  # fmt: skip
    run = finished_run(tmp_path_factory.mktemp("cards"), OWNER, *OVERRIDES, PAIRS, pins=pins)
    told = {kind: facts.facts(run, kind, REPOSITORIES) for kind in REPOSITORIES}
    for known in told.values():
        known["warnings"], known["teacher"], known["hardware"] = [MARK], MARK, MARK
        known["base"] = {**known["base"], "name": MARK, "id": f"alice/{MARK}"}
        known["crisis"] = {key: value for key, value in known["crisis"].items() if key != "countries"}  # ours, and long
        known["needed"] = [(MARK, [MARK])]
        known["versions"] = {MARK: MARK}
    return Told(told)


def replaced(value: Any, word: str) -> Any:
    """The same with `word` for the mark wherever it stands, in keys too."""
    if isinstance(value, str):
        return value if type(value) is not str else value.replace(MARK, word)
    if isinstance(value, BaseModel):
        return value.model_copy(update={key: replaced(getattr(value, key), word) for key in type(value).model_fields})
    if isinstance(value, dict):
        return {replaced(key, word): replaced(below, word) for key, below in value.items()}
    if isinstance(value, metadata.Licence):
        return metadata.Licence(*(replaced(part, word) for part in (value.id, value.name, value.link)))
    return type(value)(replaced(below, word) for below in value) if type(value) in (list, tuple) else value


def structure(card: str) -> list[Any]:
    """What a reader of Markdown makes of a card, but for its words and the lines of what it quotes."""
    found: list[Any] = []
    for token in PARSER.parse(card.partition("\n---\n")[2]):
        if token.type in (
            "html_block",
            "fence",
            "heading_open",
            "tr_open",
            "td_open",
            "th_open",
            "list_item_open",
            "hr",
        ):
            found.append(
                (token.type, token.tag, re.findall(r"</?\w+", token.content) if token.type == "html_block" else "")
            )
        assert token.type != "code_block"
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                found.append((child.type, urlsplit(str(child.attrs.get("href") or child.attrs.get("src"))).netloc))
            elif child.type == "html_inline":
                found.append(child.content)
        if token.type == "inline":
            words = re.sub(r"\\[!-~]|`[^`]*`|\]\([^)\s]*\)", "", token.content)  # without code, and where links lead
            assert not re.search(r"https?://e\.org|www\.e\.org|a@e\.org", words)
    return found


@pytest.fixture(scope="module")
def harmless(made) -> dict[str, list[Any]]:
    return Told({kind: structure(render.card(kind, "", replaced(told, "word"))) for kind, told in made.items()})


@settings(max_examples=settings().max_examples // 2)  # a card is long to parse
@given(word=HOSTILE, kind=st.sampled_from(sorted(REPOSITORIES)))
@example(word="1. a", kind="merged")
@example(word="\\|", kind="pairs")
@example(word="https://e.org www.e.org a@e.org", kind="gguf")
@example(word="a) b <i> [x](y", kind="adapter")
@example(word="`<img src=http://e.org>", kind="adapter")
@example(word="\U000e0041\U00018d09", kind="adapter")
def test_no_word_changes_what_a_card_is_made_of(made, harmless, word, kind) -> None:
    card = render.card(kind, "", replaced(made[kind], f"a{word}"))
    assert structure(card) == harmless[kind]
    assert all(c.isprintable() or c == "\n" for c in card)


@given(word=HOSTILE)
@example(word="\x85")
def test_no_word_forges_a_key_of_the_front_matter(word) -> None:
    from huggingface_hub import ModelCard, ModelCardData

    keys = {"language": [word], "license": word, "license_name": word, "tags": [word, "a"], "base_model": word}
    card = f"---\n{ModelCardData(**keys).to_yaml(line_break=chr(10)).strip()}\n---\n\nbody\n"
    found = ModelCard(card).data.to_dict()  # YAML's reader makes a space of an old line end, U+0085
    assert {key for key, value in found.items() if value} == {key for key, value in keys.items() if value}
    assert ModelCard(card).text.strip() == "body"


@given(words=st.lists(HOSTILE, min_size=2, max_size=2))
@example(words=["a\\|b", ""])
def test_a_row_of_words_is_a_row_of_a_table(words) -> None:
    """By markdown-it's rules, and by cmark's, where a pair of backslashes leaves the | behind it free."""
    row = f"| {plain(words[0])} | {code(words[1])} |"
    assert len(re.findall(r"(?:\\.|[^|\\])+|(?:\\$)", row[1:-1])) == 2
    cells = [token for token in PARSER.parse(f"| a | b |\n|---|---|\n{row}\n") if token.type == "td_open"]
    assert len(cells) == 2


@pytest.mark.parametrize("licence", [["mit"], {"a": 1}, 3, True, "\n# x"])
def test_a_licence_that_is_no_name_is_none(licence) -> None:
    found = metadata.pinned_licence({"license": licence, "license_name": {}, "license_link": 1})
    assert found == (metadata.Licence(licence) if isinstance(licence, str) else None)
