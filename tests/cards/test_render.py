"""Values that would be more than text stay text."""

from __future__ import annotations

import ast
import html
import json
import re

import pytest
from embedded_hub import hub  # noqa: F401  a fixture
from finished_run import OWNER, cards, finished_run, metadata
from huggingface_hub import ModelCard
from jinja2 import UndefinedError

from localpsych_recipes.cards.render import environment, plain


def test_no_value_forges_markdown_html_or_front_matter(tmp_path, hub) -> None:
    description = "x\n---\nlicense: mit\n---\n# Heading <script>alert(1)</script> [link](http://e) ![i](http://e) `c` |"
    overrides = (f"description={json.dumps(description)}", f"card.title={json.dumps('T | *' + chr(10) + '# safe')}")
    system = 'say "hi"\n```\n# Out of the fence'
    overrides += (f"data.system={json.dumps(system)}", 'card.tags=["a: b", "c\\n- d"]')
    run = finished_run(tmp_path, OWNER, *overrides)
    for text in cards(run).values():
        ModelCard(text).validate()
        assert metadata(text)["license"] == "apache-2.0" and metadata(text)["tags"][-2:] == ["a: b", "c\n- d"]
        assert "<script>" not in text and "[link](" not in text and "![i](" not in text
        assert not re.search(r"^# (Heading|safe|Out)", text, re.MULTILINE)
        assert text.count("```") % 2 == 0
        assert re.search(r"^> \\`\\`\\`$", text, re.MULTILINE)  # the system prompt is shown, its fence as text


def test_a_dataset_file_with_a_forged_name_stays_text(tmp_path) -> None:
    pin = {"id": None, "file": "rows`|<b>.csv", "sha256": "c" * 64}
    run = finished_run(tmp_path, OWNER, "data.source=./rows.csv", pins={"dataset": pin})
    text = cards(run)["adapter"]
    assert "`rows'\\|<b>.csv`" in text and "datasets" not in metadata(text)


def test_the_address_of_a_licence_ends_its_link_nowhere_but_at_its_end(tmp_path) -> None:
    address = "https://e.org/a b) [c](http://d.org) <e>\n# f"
    text = cards(finished_run(tmp_path, OWNER, pins={"base": {"license": "other", "license_link": address}}))["merged"]
    line = next(line for line in text.splitlines() if line.startswith("This release: "))
    assert re.findall(r"\]\((.*?)[\s)]", line) == [
        "https://e.org/a%20b%29%20%5Bc%5D%28http://d.org%29%20%3Ce%3E%0A#%20f"
    ]


@pytest.mark.parametrize("address", ["javascript:alert(1)", "LICENSE", "javascript://e.org/%0Aalert(1)"])
def test_what_is_no_address_on_the_web_is_a_file_beside_the_base(tmp_path, address) -> None:
    for licence in ("other", "apache-2.0"):
        pin = {"license": licence, "license_link": address}
        text = cards(finished_run(tmp_path / licence, OWNER, pins={"base": pin}))["merged"]
        assert f"[terms](https://huggingface.co/alice/base/blob/main/{address.split('(')[0]}" in text


def test_in_code_what_is_not_seen_is_escaped(tmp_path) -> None:
    system = "Be\u202e calm\x1b. \U0001f642"
    texts = cards(finished_run(tmp_path, OWNER, f"data.system={json.dumps(system, ensure_ascii=False)}"))
    assert all(c.isprintable() or c == "\n" for text in texts.values() for c in text)
    assert ast.literal_eval(re.search(r"^system = (.*)$", texts["merged"], re.MULTILINE)[1]) == system
    said = json.loads(re.search(r"^\{\"messages.*$", texts["gguf"], re.MULTILINE)[0])
    assert said["messages"][0]["content"].startswith(system)


@pytest.mark.parametrize("text", ["a_b*c", "[x](y)", "<b>&", "- item", "| cell", "# no", "a\nb", "\u202eright to left"])
def test_escaped_text_reads_as_it_was_written(text) -> None:
    """Judged by another reader of Markdown's rules: an escaped character stands for itself, an entity for its sign."""
    shown = html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", str(plain(text))))
    assert shown == text.replace("\n", " ").replace("\u202e", "")
    assert not re.search(r"(?<!\\)[*_\[\]|#]|[<>]|^-", str(plain(text)))


def test_a_name_that_no_fact_has_stops_the_rendering() -> None:
    with pytest.raises(UndefinedError):
        environment().from_string("{{ nothing }}").render()
