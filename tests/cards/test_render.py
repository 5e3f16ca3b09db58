"""Values that would be more than text stay text."""

from __future__ import annotations

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


@pytest.mark.parametrize("text", ["a_b*c", "[x](y)", "<b>&", "- item", "| cell", "# no", "a\nb", "\u202eright to left"])
def test_escaped_text_reads_as_it_was_written(text) -> None:
    """Judged by another reader of Markdown's rules: an escaped character stands for itself, an entity for its sign."""
    shown = html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", str(plain(text))))
    assert shown == text.replace("\n", " ").replace("\u202e", "")
    assert not re.search(r"(?<!\\)[*_\[\]|#]|[<>]|^-", str(plain(text)))


def test_a_name_that_no_fact_has_stops_the_rendering() -> None:
    with pytest.raises(UndefinedError):
        environment().from_string("{{ nothing }}").render()
