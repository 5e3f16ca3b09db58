"""Licences are read from cards, and what they ask of a release is known before anything runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from embedded_hub import alice, hub  # noqa: F401  fixtures
from huggingface_hub import constants

from localpsych_recipes import licences, recipe_file
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Recipe

GOOGLE = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
META = (
    "Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc. All Rights Reserved."
)
TEACHER = 'augment={server: "http://127.0.0.1:1/v1", model: alice/teacher}'
RECIPE = """
name: calm
base: {model: alice/base}
data: {source: alice/rows, columns: {prompt: question, response: answer}}
sft:
merge:
gguf:
verify:
card:
push: {private: false}
"""


@pytest.fixture
def recipe(tmp_path: Path):
    def load(*overrides: str) -> Recipe:
        (tmp_path / "recipe.yaml").write_text(RECIPE)
        return recipe_file.load(tmp_path / "recipe.yaml", overrides)

    return load


def pins(base: str | None, *rows: str | None, teacher: str | None = None) -> dict[str, Any]:
    """Pins with these licences; one that is no identifier of the Hub stands behind `other`."""

    def pin(licence: str | None) -> dict[str, str | None]:
        named = licence if licence and "research" in licence else None
        return {"license": "other" if named else licence, "license_name": named, "license_link": None}

    return {"base": pin(base), "datasets": [pin(r) for r in rows], "teacher": teacher and pin(teacher)}


def card(api, repo: str, kind: str, front: str) -> None:
    api.create_repo(repo, repo_type=kind)
    text = f"---\n{front}\n---\n".encode()
    api.upload_file(path_or_fileobj=text, path_in_repo="README.md", repo_id=repo, repo_type=kind)


def test_free_licences_may_be_published(recipe) -> None:
    licences.check(recipe(), pins("apache-2.0", "cc-by-4.0"))
    licences.check(recipe(TEACHER), pins("gemma", "mit", teacher="apache-2.0"))


@pytest.mark.parametrize(
    ("base", "rows", "said"),
    [
        ("qwen-research", "mit", "base alice/base is qwen-research, for research only"),
        ("mit", "cc-by-nc-4.0", "data alice/rows is cc-by-nc-4.0, non-commercial"),
        ("mit", "cc-by-nc-sa-4.0", "data alice/rows is cc-by-nc-sa-4.0, non-commercial"),
        ("fair-noncommercial-research-license", "mit", "base alice/base is fair-noncommercial-research-license"),
        ("mit", None, "data alice/rows is unknown, stated nowhere"),
        ("mit", "unknown", "data alice/rows is unknown, stated nowhere"),
        (None, "mit", "base alice/base is unknown, stated nowhere"),
    ],
)
def test_what_is_not_free_or_not_known_is_refused_in_public_and_may_be_private(recipe, base, rows, said) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        licences.check(recipe(), pins(base, rows))
    licences.check(recipe("push.private=true"), pins(base, rows))
    licences.check(recipe("push=false"), pins(base, rows))


def test_one_error_names_every_licence_and_where_it_comes_from(recipe) -> None:
    with pytest.raises(UserError) as raised:
        licences.check(recipe(TEACHER), pins("qwen-research", "cc-by-nc-4.0"))
    text = str(raised.value)
    for part in (
        "base alice/base is qwen-research",
        "data alice/rows is cc-by-nc-4.0",
        "teacher alice/teacher is unknown",
    ):
        assert part in text
    assert "push.despite_licences: [qwen-research, cc-by-nc-4.0, unknown]" in text


def test_a_licence_is_overruled_by_its_own_name_alone(recipe) -> None:
    chain = pins("qwen-research", None)
    licences.check(recipe("push.despite_licences=[qwen-research, unknown]"), chain)
    for half in ("[qwen-research]", "[unknown]", "[mit]"):
        with pytest.raises(UserError):
            licences.check(recipe(f"push.despite_licences={half}"), chain)


def test_the_recipes_word_counts_where_a_card_is_silent_and_never_against_it(recipe) -> None:
    said = ("base.license=mit", "data.license=mit")
    assert [link.licence for link in licences.chain(recipe(*said), pins(None, None))] == ["mit", "mit"]
    with pytest.raises(UserError, match="qwen-research"):
        licences.check(recipe(*said), pins("qwen-research", None))


@pytest.mark.parametrize("licence", ["llama3.1", "llama3.2", "llama3.3", "llama4"])
def test_a_name_made_from_llama_begins_with_llama(recipe, licence) -> None:
    for private in ("push.private=true", "push=false"):
        with pytest.raises(UserError, match="name: calm, made from alice/base") as raised:
            licences.check(recipe(private), pins(licence, "mit"))
        assert "name: Llama-calm" in str(raised.value)
    licences.check(recipe("name=Llama-calm"), pins(licence, "mit"))
    with pytest.raises(UserError, match="push.gguf: calm-files"):
        licences.check(recipe("name=Llama-calm", "push.gguf=alice/calm-files"), pins(licence, "mit"))


def test_metas_own_repositories_ask_for_the_name_whatever_is_said_of_their_licence(recipe) -> None:
    meta = "base.model=meta-llama/Llama-3.2-3B-Instruct"
    with pytest.raises(UserError, match='begins with "Llama"'):
        licences.check(recipe(meta, "base.license=mit"), pins(None, "mit"))
    with pytest.raises(UserError, match="made from meta-llama/Llama-3.2-1B"):
        licences.check(recipe("base.model=/models/mine", "base.hub_id=meta-llama/Llama-3.2-1B"), pins("mit", "mit"))
    licences.check(recipe("base.model=meta-llama/Llama-2-7b-hf"), pins("llama2", "mit"))


def test_a_teachers_name_rule_counts_as_well(recipe) -> None:
    with pytest.raises(UserError, match="made from alice/teacher"):
        licences.check(recipe(TEACHER), pins("mit", "mit", teacher="llama3.2"))


@pytest.mark.parametrize(
    ("licence", "notice", "shown"),
    [
        ("gemma", GOOGLE, []),
        ("llama3.2", META, ["Built with Llama"]),
        ("apache-2.0", None, []),  # Gemma 4 among them
        (None, None, []),
    ],
)
def test_notices_are_the_owners_sentences_and_follow_from_the_card(recipe, licence, notice, shown) -> None:
    links = licences.chain(recipe("base.model=google/gemma-4-E4B-it"), pins(licence, "mit"))
    assert licences.notice(links) == (notice and notice + "\n")
    assert licences.shown(links) == shown


def test_a_release_carries_the_bases_agreements_and_one_notice(recipe, tmp_path) -> None:
    base, release = tmp_path / "base", tmp_path / "release"
    base.mkdir(), release.mkdir()
    for name in ("LICENSE", "LICENSE.txt", "USE_POLICY.md", "Notice", "NOTICE", "config.json", "licensed.safetensors"):
        (base / name).write_text(f"text of {name}\n")
    assert {p.name for p in licences.agreement_files(base)} >= {"LICENSE", "LICENSE.txt", "USE_POLICY.md", "NOTICE"}
    links = licences.chain(recipe(), pins("gemma", "mit"))
    for _ in range(2):  # a card is rendered again
        licences.accompany(links, base, release)
        assert (release / "NOTICE").read_text() == f"{GOOGLE}\n\ntext of NOTICE\n"
    assert (release / "USE_POLICY.md").read_text() == "text of USE_POLICY.md\n"
    assert not (release / "config.json").exists() and not (release / "licensed.safetensors").exists()


def test_the_outcome_is_read_from_the_hubs_cards(recipe, hub, alice) -> None:
    card(alice, "alice/base", "model", "license: other\nlicense_name: qwen-research\nlicense_link: LICENSE")
    card(alice, "alice/rows", "dataset", "license: cc-by-nc-4.0")
    card(alice, "alice/teacher", "model", "license: mit")
    lines = licences.outcome(recipe(TEACHER, "push.private=true"))
    assert lines[:4] == [
        "base alice/base: qwen-research, for research only",
        "data alice/rows: cc-by-nc-4.0, non-commercial",
        "teacher alice/teacher: mit",
        "release: private only",
    ]
    assert not any("refused" in line for line in lines)
    assert any(
        line.startswith("refused as it stands: push.private: false") for line in licences.outcome(recipe(TEACHER))
    )


def test_what_the_hub_does_not_answer_is_unknown_and_said_to_be_looked_up(recipe, hub, monkeypatch) -> None:
    lines = licences.outcome(recipe())
    assert "base alice/base: unknown (the Hub gives no answer" in lines[0] and "404" in lines[0]
    assert lines[0].endswith("read its card, or set base.license") and "set data.license" in lines[1]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "unknown (the Hub gives no answer" in licences.outcome(recipe())[0]


def test_local_folders_and_files_are_read_or_asked_for(recipe, tmp_path) -> None:
    base = tmp_path / "gemma"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: gemma\n---\n# Mine\n")
    rows = ("data.source=./rows.jsonl",)
    lines = licences.outcome(recipe(f"base.model={base}", *rows))
    assert lines[:3] == [
        "base gemma: gemma",
        "data rows.jsonl: unknown; read its terms, then set data.license",
        "release: private only",
    ]
    assert f'its file NOTICE says "{GOOGLE}"' in lines and str(tmp_path) not in "".join(lines)
    assert "release: may be public" in licences.outcome(recipe(f"base.model={base}", *rows, "data.license=cc-by-4.0"))


def test_each_source_of_a_mixture_stands_in_the_chain_with_its_key(tmp_path) -> None:
    columns = "columns: {prompt: q, response: a}"
    (tmp_path / "r.yaml").write_text(
        f"name: calm\nbase: {{model: alice/base}}\nsft:\ndata:\n  mixture:\n"
        f"  - {{source: alice/one, {columns}}}\n  - {{source: alice/two, {columns}, license: mit}}\n"
    )
    links = licences.chain(recipe_file.load(tmp_path / "r.yaml"), pins("mit", None, None))
    assert [(link.name, link.licence) for link in links[1:]] == [("alice/one", None), ("alice/two", "mit")]
    assert links[1].do == "set data.mixture[0].license"
