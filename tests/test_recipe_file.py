"""The recipe reader: strict, frozen, every error at once with file, line and a hint."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from localpsych_recipes import recipe_file
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Pairs, Recipe, json_schema
from localpsych_recipes.recipe_file import RecipeError, dump, load, load_with_origins
from localpsych_recipes.resources import resource

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))
MINIMAL = """\
name: small
base:
  model: someone/base
data:
  source: someone/rows
  test_size: 0.1
  columns: {prompt: question, chosen: good, rejected: bad}
sft:
  learning_rate: 2e-4
dpo:
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(tmp_path: Path, text: str, overrides=()) -> list[str]:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError) as raised:
        load(path, overrides)
    return [p.replace(str(path), "FILE") for p in raised.value.problems]


def test_a_small_recipe_loads_and_2e_4_is_a_number(tmp_path):
    recipe = load(written(tmp_path, MINIMAL))
    assert recipe.sft.learning_rate == 0.0002
    assert recipe.stage_sections() == ("sft", "dpo")


def test_a_recipe_is_frozen(tmp_path):
    recipe = load(written(tmp_path, MINIMAL))
    with pytest.raises(ValidationError):
        recipe.sft.learning_rate = 1.0


@pytest.mark.parametrize("key", ["verify.quants.Q4_K_M.kll", "verify.gguf.kll"])
def test_a_typo_below_a_name_of_ones_own_has_its_hint_too(tmp_path, key):
    (problem,) = problems(tmp_path, MINIMAL, [f"{key}=0.1"])
    assert problem == f"--set: {key}: unknown key; did you mean kl?"


def test_every_error_is_reported_at_once_with_its_line_and_a_hint(tmp_path):
    text = """\
name: small
base:
  model: someone/base
  quantisation: nf4
  dtype: bfloat
data:
  source: someone/rows
  test_size: "0.1"
  columns: {prompt: question, chosen: good, rejected: bad}
sft:
  learning_rte: 2e-4
  warmup_steps: 1.5
  eval_steps: 2
  save_steps: 3
gguf:
  quants: [Q4_K_M, Q9_0]
merg:
"""
    assert problems(tmp_path, text)[:9] == [
        "FILE:4: base.quantisation: unknown key; it is called quantization here",
        "FILE:5: base.dtype: 'bfloat' is not one of 'bfloat16', 'float16' or 'float32'; did you mean bfloat16?",
        "FILE:8: data.test_size: '0.1' is text, expected a number, without quotes",
        "FILE:11: sft.learning_rte: unknown key; did you mean learning_rate?",
        "FILE:12: sft.warmup_steps: 1.5: input should be a valid integer",
        "FILE:12: sft.warmup_steps: 1.5: input should be less than 1",
        "FILE:14: sft.save_steps: 3 is not eval_steps (2); the best step could be lost",
        problems(tmp_path, text)[7],  # the list of quants is asserted below
        "FILE:17: merg: unknown key; did you mean merge?",
    ]
    assert "FILE:16: gguf.quants.1: 'Q9_0' is not one of" in problems(tmp_path, text)[7]


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("data.columns.rejected=good", "column 'good' is also `chosen`; a rejected answer can never be trained on"),
        ("data.columns.rejected=question", "column 'question' is also `prompt`"),
        ("data.columns.rejected=null", "`dpo` needs `chosen` and `rejected` columns"),
        ("data.columns={response: good}", "prompt: missing"),
        ("data.mixture=[{source: a/b, columns: {prompt: q, response: a}}]", "source: says nothing beside `mixture`"),
        ("data.source=null", "data.source: missing"),
        ("data.rejected=bad", "it belongs in data.columns"),
        ("data.separator=x", "it belongs in data.turns"),
        ("data.columns.html=true", "it belongs in data"),
        ("data.columns.messages=turns", "messages: stands alone"),
        ("data.test_split=test", "test_split: contradicts test_size"),
        ("base.model=''", "base.model: ''"),
        ("gguf={}", "merge: missing; `gguf` is made from the merged model"),
        ("push={}", "card: missing; nothing is pushed without its card"),
        ("push={}", "verify: missing; nothing is pushed that was not proven"),
        ("gates=[{metric: crisis_pass, at_least: 1.0}]", "evaluate: missing; `gates` read what it measures"),
        ("gates=[{metric: crisis_pas, at_least: 1.0}]", "did you mean crisis_pass?"),
        ("gates=[{metric: harm, at_most: 0.0, within: 0.1}]", "one of at_least, at_most and within"),
        ("evaluate={questions: [{source: q.jsonl}]}", "only a judge can score them"),
        ("evaluate={reference: {name: big, server: llama.cpp}}", "a reference is a model at an address"),
        ("verify={quants: {Q4_K: {kl: 0.1}}}", "'Q4_K' is no quant"),
        ("verify={context: 64, chunks: 3}", "chunks: 93 tokens would be compared; it takes 100"),
        ("dpo.loss_weights=[1.0]", "1 weights for 2 losses"),
        ("sft.trainer={output_dir: x}", "trainer.output_dir: is set by the engine"),
        ("sft.trainer={neftune_noise_alhpa: 5}", "did you mean neftune_noise_alpha?"),
        ("sft.early_stopping_patience=3", "needs eval_steps"),
        ("sft.max_seq_length=512", "it is called max_length here"),
        ("learning_rate=1e-4", "it belongs in sft or dpo"),
        ("lora.target_modules='('", "not a regular expression"),
        ("sft.optim=adam_foo", "'adam_foo' is unknown to the installed transformers"),
        ("dpo.loss_type=[sigmiod, sft]", "did you mean sigmoid?"),
        ("sft.learning_rate=.inf", "finite number"),
        ("dpo.loss_weights=[-1.0, 1.0]", "greater than or equal to 0"),
        ("²=1", "unknown key"),
        ("sft.trainer={save_only_model: true}", "is set by the engine"),
        ("name=../escape", "name: '../escape'"),
        ("sft.gradient_checkpointing=on", "'on' is text, expected true or false"),
        ("pairs.server=llamacpp", "pairs.server: 'llamacpp' is neither llama.cpp nor vllm nor an address"),
        ("judge.server=localhost:8080", "judge.server: 'localhost:8080' is neither"),
        ("pairs.model=someone/else", "pairs.model: 'someone/else' is a name on a server with an address"),
        ("judge.revision=main", "judge.revision: not of a judge that `model: auto` chooses"),
        ("judge={model: sage, revision: main, server: 'http://127.0.0.1:1/v1'}", "not of a judge at an address"),
        ("pairs={repetition_penalty: 1.0, degrade: {repetition: 0.1}}", "degrade.repetition: changes nothing"),
        ("pairs.degrade={truncate: 0.6, repetition: 0.6}", "degrade.truncate: the shares are 1.2 together"),
        ("pairs.rubric='{{ answer }} {{ minimum }}'", "'minimum' is unknown to it"),
        ("pairs.rubric='{{ question }}'", "answer missing in it"),
        ("pairs={mode: pairwise, rubric: '{{ answer_a }}'}", "answer_b missing in it"),
        ("pairs.rubric='{{ answer'", "no Jinja template"),
        ("pairs.vetoes={warmth: is cold}", "'warmth' is a criterion too"),
    ],
)
def test_contradictions_and_slips_are_refused(tmp_path, override, complaint):
    assert any(complaint in p for p in problems(tmp_path, MINIMAL, [override]))


@pytest.mark.parametrize(
    ("evaluate", "gate", "complaint"),
    [
        ("{}", "metric: judge_empathy, at_least: 3.0", "judge_empathy is only measured with evaluate.judge"),
        ("{}", "metric: toxic_answers, at_most: 0.1", "only measured with evaluate.toxicity"),
        ("{}", "metric: xstest_over_refusal, at_most: 0.1", "only measured with evaluate.xstest"),
        ("{general_text: null}", "metric: general_perplexity, at_most: 9.0", "with evaluate.general_text"),
        ("{suite: null}", "metric: harm, at_most: 0.0", "only measured with evaluate.suite"),
        ("{columns: [dpo]}", "metric: words, within: 0.1", "words of base: evaluate.columns leaves base out"),
        ("{}", "metric: words, at_most: 9.0, columns: [quants]", "words of quants"),
        ("{columns: [base]}", "metric: words, at_most: 9.0, columns: [dpo]", "words of dpo"),
    ],
)
def test_a_gate_on_what_is_never_measured_is_refused_at_once(tmp_path, evaluate, gate, complaint):
    overrides = [f"evaluate={evaluate}", f"gates=[{{{gate}}}]"]
    assert any(complaint in problem for problem in problems(tmp_path, MINIMAL, overrides))


def test_a_gate_on_what_is_measured_holds(tmp_path):
    gates = "gates=[{metric: words, at_most: 9.0, columns: [dpo]}, {metric: judge_empathy, within: 0.1}]"
    assert len(load(written(tmp_path, MINIMAL), ["evaluate={judge: true}", gates]).gates) == 2


@pytest.mark.parametrize("mode", ["pointwise", "pairwise"])
def test_a_rubric_may_start_from_the_one_that_ships(mode):
    text = resource("judge", "rubric.md.j2").read_text(encoding="utf-8")
    if mode == "pairwise":
        text = text.replace("{{ answer |", "{{ answer_a ~ answer_b |")
    assert Pairs(mode=mode, rubric=text).rubric == text


def test_a_rubric_may_name_all_that_the_one_that_ships_names(tmp_path):
    path = tmp_path / "recipe.yaml"
    named = "{{ conversation }}{{ question }}{{ answer }}{{ criteria }}{{ vetoes }}{{ lowest }}{{ highest }}"
    path.write_text(MINIMAL)
    assert recipe_file.load(path, ["sft={}", f"pairs.rubric='{named}'"]).pairs.rubric == named


def test_evaluation_steps_need_something_held_out(tmp_path):
    found = problems(tmp_path, MINIMAL, ["data.test_size=null", "sft.eval_steps=10"])
    assert any("sft.eval_steps: nothing is held out" in p for p in found)


def test_a_recipe_trains_something(tmp_path):
    assert any("a recipe trains something" in p for p in problems(tmp_path, MINIMAL, ["sft=false", "dpo=false"]))


def test_an_override_says_that_it_came_from_the_command_line(tmp_path):
    assert problems(tmp_path, MINIMAL, ["sft.lerning_rate=1"]) == [
        "--set: sft.lerning_rate: unknown key; did you mean learning_rate?"
    ]


def test_an_override_wins_and_false_takes_a_stage_out(tmp_path):
    recipe = load(written(tmp_path, MINIMAL), ["sft.learning_rate=1e-4", "dpo=false"])
    assert recipe.sft.learning_rate == 0.0001
    assert recipe.dpo is None


def test_an_override_reaches_into_a_list_by_number(tmp_path):
    mixed = "name: x\nbase: {model: a/b}\nsft:\ndata: {mixture: [{source: c/d, columns: {prompt: q, response: a}}]}\n"
    recipe, origins = load_with_origins(written(tmp_path, mixed), ["data.mixture.0.weight=0.5"])
    assert recipe.data.sources[0].weight == 0.5
    assert str(origins[("data", "mixture", 0, "weight")]) == "--set"
    for setting in ("data.mixture.1.weight=2", "data.mixture.first.weight=2", "data.mixture.1={}"):
        with pytest.raises(UserError, match="number of an entry"):
            load(written(tmp_path, mixed), [setting])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data=[a]", "data: ['a'], expected keys with their values"), ("data.columns=rows", "expected keys with"),
        ("sft=true", "sft: true, expected keys"), ("data.mixture={source: a}", "data.mixture: a mapping, expected a list"),
        ("name=5", "name: 5, expected text; put it in quotes"), ("base=null", "base: nothing, expected keys"),
        ("data.labels={good: {yes: true}}", "data.labels.good.yes: true, expected text; put it in quotes"),
        ("pairs.criteria={}", "pairs.criteria: 0 entries; 1 at least"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_told_in_the_recipe_s_words(tmp_path, override, told):
    found = problems(tmp_path, MINIMAL, [override])
    assert any(told in problem for problem in found)
    assert not any(word in "".join(found) for word in ("dictionary", "tuple", "instance of"))


def test_what_is_held_out_is_not_asked_of_a_stage_that_has_no_rows(tmp_path):
    found = problems(tmp_path, MINIMAL, ["data.use=dpo", "sft.eval_steps=5"])
    assert len(found) == 1 and "every source is for `dpo` alone" in found[0]


@pytest.mark.parametrize("override", ["sft.learning_rate", "=1", "sft..x=1", "sft.x=[", "extends=demo"])
def test_a_malformed_override_is_one_message(tmp_path, override):
    with pytest.raises(UserError, match="--set"):
        load(written(tmp_path, MINIMAL), [override])


@pytest.mark.parametrize(
    "text", ["- a\n- b\n", "just words", "a: [1\n", "a: 1\na: 2\n", "", "a: &x 1\nb: *x\n", "[" * 3000]
)
def test_what_is_no_recipe_is_one_message(tmp_path, text):
    assert len(problems(tmp_path, text)) >= 1


def test_a_file_that_is_not_there_or_not_text_is_one_message(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "missing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="not UTF-8"):
        load(tmp_path / "binary.yaml")


def test_the_resolved_recipe_loads_to_an_equal_one(tmp_path):
    recipe = load(written(tmp_path, MINIMAL))
    again = tmp_path / "again.yaml"
    again.write_text(dump(recipe), encoding="utf-8")
    assert load(again) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_of_the_project_loads(path):
    assert isinstance(load(path), Recipe)


def test_the_project_has_recipes():
    assert {"gemma4-e4b-psych", "demo"} <= {p.stem for p in RECIPES}


@pytest.mark.parametrize("name", ["recipes/demo.yaml", "demo", "demo.yaml"])
def test_a_recipe_that_ships_with_the_package_is_found_by_its_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(name).name == "tiny-gemma4-psych"


def test_every_key_has_a_type_and_every_section_is_closed():
    schema = json_schema()
    for name, section in {**schema["$defs"], "Recipe": schema}.items():
        assert section["additionalProperties"] is False, name


def test_the_trainer_keys_are_those_of_the_installed_library():
    from trl import DPOConfig, SFTConfig

    from localpsych_recipes.trainer_keys import field_names

    assert field_names("Sft") == set(SFTConfig.__dataclass_fields__)
    assert field_names("Dpo") == set(DPOConfig.__dataclass_fields__)


def test_check_answers_without_torch():
    code = (
        "import sys; from localpsych_recipes import cli; "
        f"code = cli.main(['check', {str(RECIPES[0])!r}]); "
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_aliases_cannot_blow_a_recipe_up(tmp_path):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}]\n" for i in range(3)
    )
    assert "aliases" in problems(tmp_path, bomb)[0]


def test_a_recipe_of_megabytes_is_refused(tmp_path):
    with pytest.raises(UserError, match="more than 1 MB"):
        load(written(tmp_path, "# x\n" * (recipe_file.MAX_BYTES // 4 + 1)))
