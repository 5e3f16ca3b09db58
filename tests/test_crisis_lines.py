"""Help lines that are out of date are found however they are written, and nothing else is."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from localpsych_recipes import crisis_lines, recipe_file
from localpsych_recipes.resources import resource

US = "US National Suicide Prevention Lifeline, ten digits"
TALK = "273-TA" + "LK"
WRITTEN = (
    "1-800-273-8255", "1 (800) 273-8255", "(800) 273-8255", "1.800.273.8255", "800.273.8255", "18002738255",
    "+1 800 273 8255", "+18002738255", "001 800 273 8255", "1\u2011800\u2011273\u20118255", "1–800–273–8255",
    "1\u00a0800\u00a0273\u00a08255", "1 - 800 - 273 - 8255", "1-800-2738255", f"1-800-{TALK}", f"1-800-{TALK.lower()}",
    f"1 (800) {TALK}", f"1-800-{TALK} (8255)", f"1-800-{TALK} (1-800-273-8255)", "1/800/273/8255",
)  # fmt: skip


@pytest.mark.parametrize("number", WRITTEN)
def test_the_old_us_number_is_found_in_every_way_of_writing_it_and_replaced_whole(number) -> None:
    for text in ("Please call {} now.", "({})", "{}", "Open 24/7 {}, free.", "line:{}.Hope", "**{}**"):
        assert crisis_lines.find(text.format(number)) == [US]
        assert crisis_lines.replace(text.format(number)) == text.format("988")


@pytest.mark.parametrize(
    ("text", "names", "becomes"),
    [
        ("ring 08457 90 90 90", ["Samaritans in the United Kingdom, charged number"], "ring 116 123"),
        ("ring +44 (0) 8457 909090", ["Samaritans in the United Kingdom, charged number"], "ring 116 123"),
        ("ring 0845 790 9090", ["Samaritans in the United Kingdom, charged number"], "ring 116 123"),
        ("ring 1850 60 90 90", ["Samaritans in Ireland, charged number"], "ring 116 123"),
        ("text 07725 90 90 90.", ["Samaritans by text message"], "text 85258."),
        ("call 1-833-456-4566", ["Talk Suicide Canada, ten digits"], "call 988"),
        ("call1-800-273-8255Hope", [US], "call988Hope"),
        ("988 or 1-800-273-8255", [US], "988"),
        ("1-800-273-8255 (or 988)", [US], "988 (or 988)"),
        ("1-800-273-8255, then 1-800-273-8255", [US, US], "988, then 988"),
    ],
)
def test_the_others_too_each_as_often_as_it_occurs(text, names, becomes) -> None:
    assert crisis_lines.find(text) == names
    assert crisis_lines.replace(text) == becomes


@pytest.mark.parametrize(
    "text",
    [
        "call or text 988, text HOME to 741741, or 116 123", "1-800-273-8256", "1-800-273-82551", "51-800-273-8255",
        "2-800-273-8255", "0800 273 8255", "+44 800 273 8255", "+44 (0)800 273 8255", "1-800-273-8255-1", "0.8002738255",
        "18002738255123", "order 998002738255", "8,002,738,255", "1-800-273-TALKING", "1-800-784-2433", "845 790 9090",
        "+1 8457 90 90 90", "21850 60 90 90", "1-800-422-4453", "800 rows, 273 columns, 8255 cells", "",
    ],
)  # fmt: skip
def test_other_numbers_stay_as_they_are(text) -> None:
    assert crisis_lines.find(text) == []
    assert crisis_lines.replace(text) == text


def test_what_was_replaced_is_not_found_again() -> None:
    for number in WRITTEN:
        assert crisis_lines.find(crisis_lines.replace(f"{number} or {number}, 988/{number}")) == []


def test_a_recipes_own_texts_are_searched_and_named_by_their_keys(tmp_path: Path) -> None:
    rows = "{source: me/rows, columns: {prompt: text, response: 'It is {label}. Call 1-800-273-8255.'}, test_size: 0.1"
    (tmp_path / "r.yaml").write_text(
        "name: calm\nbase: {model: me/base}\n"
        "data:\n  system: In danger? Call 800-273-8255, in Britain 08457 90 90 90.\n  mixture:\n"
        "  - {source: me/others, columns: {prompt: q, response: a}}\n"
        f"  - {rows}, labels: {{label: {{'1': 'serious (1 800 273 8255)'}}}}}}\n"
        "augment: {answer: '{response} {teacher} Call 988.'}\nsft:\n"
    )
    found = crisis_lines.in_recipe(recipe_file.load(tmp_path / "r.yaml"))
    assert found == {
        US: ["data.system", "data.mixture[1].columns.response", "data.mixture[1].labels.label"],
        "Samaritans in the United Kingdom, charged number": ["data.system"],
    }


def test_what_the_project_ships_names_no_outdated_line() -> None:
    texts = [p for p in resource("model_cards").rglob("*") if p.suffix in (".md", ".j2", ".yaml", ".py")]
    recipes = list(resource("recipes").glob("*.yaml"))
    assert len(texts) > 5 and len(recipes) >= 2
    for path in (*texts, *recipes):
        assert crisis_lines.find(path.read_text(encoding="utf-8")) == [], path.name


def test_every_outdated_line_says_why_what_stands_now_and_who_says_so() -> None:
    entries = YAML(typ="safe").load(resource("model_cards", "crisis.yaml"))
    assert len(entries["outdated"]) >= 5
    for entry in entries["outdated"]:
        assert entry["source"].startswith("https://") and entry["why"] and entry["now"]
        dates = re.findall(r"\d{4}-\d\d-\d\d", entry["dated"])
        assert dates and all(date.fromisoformat(d) <= date.fromisoformat(entries["compared_on"]) for d in dates)
