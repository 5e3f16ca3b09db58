"""The shipped recipes: each published figure, what every header says, and where every dataset was seen."""

import functools
import re
from pathlib import Path

import pytest

from localpsych_recipes import recipe_file
from localpsych_recipes.recipe import Recipe, is_local

CHECKOUT = Path(__file__).resolve().parents[1]
ARCHITECTURES = CHECKOUT.parent / "shared" / "architectures"
RECIPES = {
    p.stem: p for p in sorted((CHECKOUT / "recipes").rglob("*.yaml")) if p.parent.name not in ("suites", "accelerate")
}
REPRODUCTIONS = sorted(RECIPES.keys() - {"demo"})

PSYCH = {
    "base.quantization": "nf4",
    "base.double_quant": True,
    "data.source": "jkhedri/psychology-dataset",
    "data.columns.prompt": "question",
    "data.columns.chosen": "response_j",
    "data.columns.rejected": "response_k",
    "data.system": "You are a calm and compassionate mental health assistant.",
    "data.shuffle_seed": 65,
    "data.test_size": 0.1,
    "data.split_seed": 42,
    "lora.r": 16,
    "lora.lora_alpha": 32,
    "lora.lora_dropout": 0.05,
    "lora.target_modules": "attention",
    "sft.num_train_epochs": 1,
    "sft.per_device_train_batch_size": 1,
    "sft.gradient_accumulation_steps": 2,
    "sft.optim": "paged_adamw_32bit",
    "sft.learning_rate": 2e-4,
    "sft.warmup_steps": 10,
    "sft.eval_steps": 200,
}
ANALYSIS = {
    "base.quantization": "nf4",
    "data.mixture.0.source": "./isear/",
    "data.mixture.0.test_split": "test",  # 6,896 and 770 rows
    "data.mixture.1.source": "andreagasparini/dreaddit",
    "data.mixture.1.test_split": "test",
    "data.mixture.2.source": "hugginglearners/reddit-depression-cleaned",
    "data.mixture.2.test_size": 0.2,
    "data.mixture.3.test_size": 0.2,  # DepSeverity
    "data.mixture.4.source": "./sdcnl/",
    "data.mixture.4.test_split": "test",
    "lora.r": 8,
    "lora.lora_alpha": 16,
    "lora.target_modules": "all",
    "augment": None,
    "sft.num_train_epochs": 2,
    "sft.per_device_train_batch_size": 2,
    "sft.gradient_accumulation_steps": 16,
    "sft.learning_rate": 1e-5,
    "dpo": None,
}
COUNSEL = {
    "base.quantization": "int8",
    "data.columns.prompt": "prompt",
    "data.columns.response": "response",
    "data.test_size": 0.1,
    "data.split_seed": 42,
    "lora.r": 8,
    "lora.lora_alpha": 16,
    "lora.lora_dropout": 0.05,
    "lora.target_modules": ("attention", "mlp"),
    "sft.per_device_train_batch_size": 8,
    "sft.gradient_accumulation_steps": 4,
    "sft.max_steps": 1000,
    "sft.learning_rate": 3e-4,
    "sft.eval_steps": 200,
    "sft.load_best_model_at_end": True,
    "dpo": None,
}
PUBLISHED = {
    "gemma4-e4b-psych": {"base.model": "google/gemma-4-E4B-it", **PSYCH},
    "gemma4-e2b-psych": {"base.model": "google/gemma-4-E2B-it", **PSYCH},
    "gemma3-4b-psychotherapy-dpo": {
        "base.model": "google/gemma-3-4b-it",
        "base.quantization": "nf4",
        "data.source": "jkhedri/psychology-dataset",
        "data.columns.chosen": "response_j",
        "data.columns.rejected": "response_k",
        "sft": None,
        "dpo.per_device_train_batch_size": 1,
        "dpo.gradient_checkpointing": True,
        "dpo.optim": "paged_adamw_8bit",
        "dpo.precompute_ref_log_probs": True,
        "dpo.max_length": 256,
    },
    "llama3.2-3b-mental-health": {"base.model": "meta-llama/Llama-3.2-3B-Instruct", **ANALYSIS},
    "qwen2.5-3b-mental-health": {"base.model": "Qwen/Qwen2.5-3B-Instruct", **ANALYSIS},
    "deepseek-r1-1.5b-mental-health": {"base.model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", **ANALYSIS},
    "phi3-mini-counsel": {"base.model": "microsoft/Phi-3-mini-4k-instruct", **COUNSEL},
    "gemma-2b-counsel": {"base.model": "google/gemma-2b-it", **COUNSEL},
    "tinyllama-1.1b-counsel": {"base.model": "TinyLlama/TinyLlama-1.1B-Chat-v1.0", **COUNSEL},
    "qwen3-0.6b-empathy": {
        "base.model": "Qwen/Qwen3-0.6B",
        "base.quantization": "nf4",
        "base.dtype": "float16",
        "data.system": (
            "You are a compassionate healthcare assistant helping patients with fall risk concerns. Respond with empathy, "
            "validate their feelings, and provide supportive guidance. Keep responses concise and actionable when "
            "appropriate."
        ),
        "data.system_in": "system",
        "data.source": "Amod/mental_health_counseling_conversations",
        "data.columns.prompt": "Context",
        "data.columns.response": "Response",
        "data.test_size": 0.1,
        "lora.r": 16,
        "lora.lora_alpha": 16,
        "lora.lora_dropout": 0.0,
        "lora.target_modules": ("attention", "mlp"),
        "sft.num_train_epochs": 3,
        "sft.per_device_train_batch_size": 4,
        "sft.gradient_accumulation_steps": 4,
        "sft.learning_rate": 2e-4,
        "sft.warmup_steps": 0.03,
        "sft.optim": "adamw_8bit",
        "pairs.temperature": 1.5,
        "pairs.min_gap": 2.0,
        "dpo.num_train_epochs": 1,
        "dpo.per_device_train_batch_size": 2,
        "dpo.gradient_accumulation_steps": 8,
        "dpo.learning_rate": 5e-5,
        "dpo.beta": 0.1,
        "gguf.quants": ("Q4_K_M",),
    },
}
FIGURES = [(name, key, value) for name, figures in PUBLISHED.items() for key, value in figures.items()]


@functools.cache
def resolved(name: str) -> Recipe:
    return recipe_file.load(RECIPES[name])


def value_at(recipe: Recipe, key: str):
    return functools.reduce(
        lambda at, part: at[int(part)] if part.isdecimal() else getattr(at, part), key.split("."), recipe
    )


def text(name: str) -> str:
    return RECIPES[name].read_text(encoding="utf-8")


def header(name: str) -> str:
    """The comment at the top, up to the first line that is neither comment nor empty."""
    lines = text(name).splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    return "\n".join(lines[:first])


@pytest.mark.parametrize(("name", "key", "published"), FIGURES, ids=[f"{name}: {key}" for name, key, _ in FIGURES])
def test_a_recipe_resolves_to_the_published_figure(name, key, published):
    assert value_at(resolved(name), key) == published


def test_every_reproduction_has_its_published_figures_here():
    assert sorted(PUBLISHED) == REPRODUCTIONS


@pytest.mark.parametrize("name", ["gemma-2b-counsel", "tinyllama-1.1b-counsel"])
def test_compared_models_differ_in_nothing_that_is_trained_with(name):
    def settings(name: str) -> dict:
        values = resolved(name).model_dump(exclude={"name", "description", "card"})
        values["base"].pop("model")
        values["data"].pop("system_in")  # they have no system prompt
        return values

    assert settings(name) == settings("phi3-mini-counsel")


def test_the_analysis_models_are_asked_as_a_psychiatrist_would_be_and_answer_with_the_label():
    recipe = resolved("llama3.2-3b-mental-health")
    assert "experienced psychiatrist" in recipe.data.system
    for source in recipe.data.mixture:
        (label,) = source.labels
        assert f"{{{label}}}" in source.columns.response
        assert f"{{{label}}}" not in source.columns.prompt
    assert len(recipe.data.mixture[0].labels["emotion"]) == 7


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_its_schema_its_command_and_its_hardware(name):
    command = f"accelerate launch -m localpsych_recipes recipes/{RECIPES[name].name}"
    assert text(name).splitlines()[0] == "# yaml-language-server: $schema=schema.json"
    assert re.search(rf"^# +{re.escape(command)}$", header(name), re.MULTILINE), "the exact command"
    assert "Hardware:" in header(name)
    assert re.search(r"\b[Tt]ime\b", header(name))


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_a_reproduction_says_so(name):
    assert "# Reproduces " in header(name)


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_every_dataset_stands_beside_the_page_on_which_it_was_seen(name):
    lines = text(name).splitlines()
    for number, line in enumerate(lines):
        if not (found := re.match(r"\s*(?:- )?source: (\S+)", line)) or is_local(source := found[1]):
            continue
        near = "\n".join(lines[max(0, number - 7) : number + 1]).replace(f"source: {source}", "", 1)
        raw = re.match(r"https://raw\.githubusercontent\.com/([^/]+/[^/]+)/", source)
        page = f"https://github.com/{raw[1]}" if raw else f"https://huggingface.co/datasets/{source}"
        assert page in near, f"line {number + 1}: {page} does not stand near it"


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_a_comment_says_where_every_local_file_comes_from(name):
    comments = "\n".join(re.findall(r"^\s*#.*", text(name), re.MULTILINE))
    for source in re.findall(r"^\s*(?:- )?source: \./(\S+)", text(name), re.MULTILINE):
        assert source in comments


@pytest.mark.skipif(not ARCHITECTURES.exists(), reason="the configurations of real bases are not in the repository")
@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_every_base_is_one_whose_architecture_is_known(name):
    assert (ARCHITECTURES / resolved(name).base.model.replace("/", "--") / "config.json").is_file()


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_a_release_is_private_and_has_prose_for_its_cards(name):
    recipe = resolved(name)
    assert recipe.push.private
    prose = CHECKOUT / "model_cards" / "prose" / f"{recipe.card.prose}.md"
    assert not re.search(r"\d", prose.read_text(encoding="utf-8")), "no numbers in prose: they are measured"


def test_what_is_made_from_llama_bears_its_name():
    recipe = resolved("llama3.2-3b-mental-health")
    assert recipe.name.startswith("Llama")
    assert recipe.card.title.startswith("Llama")


@pytest.mark.parametrize("name", RECIPES)
def test_names_and_titles_are_a_recipe_s_own(name):
    others = [resolved(other) for other in RECIPES if other != name]
    assert resolved(name).name not in {other.name for other in others}
    assert resolved(name).card.title not in {other.card.title for other in others}


def test_the_table_in_the_readme_has_a_row_for_every_recipe_with_its_base():
    readme = (CHECKOUT / "recipes" / "README.md").read_text(encoding="utf-8")
    rows = {name: row for row, name in re.findall(r"^(\| \[[^\]]+\]\(([^)]+)\.yaml\).*)$", readme, re.MULTILINE)}
    assert rows.keys() == RECIPES.keys()
    for name in REPRODUCTIONS:
        assert resolved(name).base.model in rows[name]


@pytest.mark.parametrize("document", ["README.md", "recipes/README.md"])
def test_every_recipe_that_a_document_shows_is_one(document, tmp_path):
    """A part of one is laid over a shipped recipe."""
    shown = re.findall(r"^```yaml\n(.*?)^```", (CHECKOUT / document).read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    for text in shown:
        head = "" if text.startswith("extends:") else "extends: gemma4-e4b-psych\nname: shown\n"
        (tmp_path / "shown.yaml").write_text(head + text)
        assert recipe_file.load(tmp_path / "shown.yaml").name in ("shown", "my-companion")
