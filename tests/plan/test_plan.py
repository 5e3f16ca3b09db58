"""What `localpsych plan` says before anything is made: exact where it can be, unknown with a reason where it cannot."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
import torch
from huggingface_hub import HfApi

from localpsych_recipes import cli, plan, recipe_file, skeleton, suites
from localpsych_recipes.errors import UserError
from localpsych_recipes.local_hub import LocalHub, new_token
from localpsych_recipes.plan.memory import optimizer
from localpsych_recipes.plan.rows import tokens
from localpsych_recipes.recipe import Sft

RECIPE = Path(__file__).parents[2] / "recipes" / "gemma4-e4b-psych.yaml"
E4B = "architectures/google--gemma-4-E4B-it"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder that holds a tiny Gemma 4's config.json and nothing else."""
    tiny_models.config("gemma4").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    row = '{{"question": "How is day {0}?", "response_j": "Day {0} is fine.", "response_k": "Day {0} again?"}}\n'
    path.write_text("".join(row.format(number) for number in range(21)))
    return path


def planned(*overrides: str) -> plan.Plan:
    return plan.plan(recipe_file.load(RECIPE, overrides))


def test_the_published_run_is_planned_from_its_configuration_alone(shared, capsys):
    assert cli.main(["plan", str(RECIPE), "--set", f"base.model={shared / E4B}"]) == 0
    said = capsys.readouterr().out
    assert "132 modules: 42 q_proj, 24 k_proj, 24 v_proj, 42 o_proj" in said
    assert "trainable params: 9,076,736 || all params: 7,950,177,568 || trainable%: 0.1142" in said
    # vision q, k, v, o in 16 layers; audio q, k, v in 12; k and v that the last 18 layers do without
    for count, reason in ((16 * 4, "vision tower"), (12 * 3, "audio tower"), (18 * 2, "keys and values of an earlier")):
        assert any(f"{count} " in line and reason in line for line in said.splitlines())


def test_what_is_not_at_hand_is_unknown_with_a_reason(base, capsys):
    assert cli.main(["plan", str(RECIPE), "--set", f"base.model={base}"]) == 0
    said = capsys.readouterr().out
    for reason in ("sft: unknown (the dataset is not on", "dataset: unknown (the Hub does not say: ConnectError"):
        assert reason in said
    assert "unknown (needs the rows and the base's tokenizer" in said
    assert "share of the published rate" not in said  # no time follows from it
    assert "<your user>/gemma4-e4b-psych-LoRA (private)" in said


def test_the_recipe_keeps_every_published_setting():
    recipe = recipe_file.load(RECIPE)
    base, data, lora, sft, dpo = recipe.base, recipe.data, recipe.lora, recipe.sft, recipe.dpo
    assert (base.model, base.quantization, base.double_quant, base.dtype) == (
        "google/gemma-4-E4B-it", "nf4", True, "bfloat16",
    )  # fmt: skip
    assert (data.source, data.columns.prompt) == ("jkhedri/psychology-dataset", "question")
    assert (data.columns.chosen, data.columns.rejected) == ("response_j", "response_k")
    assert (data.shuffle_seed, data.test_size, data.split_seed, data.system_in) == (65, 0.1, 42, "user")
    assert data.system == "You are a calm and compassionate mental health assistant."
    assert (lora.r, lora.lora_alpha, lora.lora_dropout, lora.target_modules) == (16, 32, 0.05, "attention")
    assert (sft.num_train_epochs, sft.per_device_train_batch_size, sft.gradient_accumulation_steps) == (1, 1, 2)
    assert (sft.optim, sft.learning_rate, sft.warmup_steps) == ("paged_adamw_32bit", 2e-4, 10)
    assert (sft.eval_steps, sft.logging_steps, sft.report_to) == (200, 10, "tensorboard")
    assert (dpo.beta, dpo.learning_rate, dpo.num_train_epochs) == (0.1, 5e-6, 1)
    assert "sft" in dpo.loss_type and recipe.gguf.quants == ("Q4_K_M", "Q5_K_M", "Q8_0")
    assert recipe.merge and recipe.card and recipe.push.private


def test_rows_at_hand_give_the_steps(base, rows):
    made = planned(
        f"base.model={base}", f"data.source={rows}", "sft.num_train_epochs=1.5", "sft.per_device_train_batch_size=2",
        "sft.gradient_accumulation_steps=4", "evaluate.judge=false",
    )  # fmt: skip
    # of 21 rows 0.1 are held out, rounded up: 3; 18 rows, 9 batches, 3 steps an epoch, 4.5 steps; DPO: 18 in twos
    assert {stage: found.rows for stage, found in made.stages.items()} == {"sft": 18, "dpo": 18}
    assert {stage: found.steps for stage, found in made.stages.items()} == {"sft": 5, "dpo": 9}
    assert made.downloads == {"base": 0, "dataset": 0}


def test_rows_that_are_to_be_put_here_by_hand_are_no_download_of_nothing(base):
    made = planned(f"base.model={base}", "data.source=./not-here.csv", "evaluate.judge=false")
    assert str(made.downloads["dataset"]).startswith("unknown (not here yet")


def test_lengths_of_a_finished_prepare_stage_take_the_place_of_the_bound(base, tmp_path):
    recipe = recipe_file.load(RECIPE, [f"base.model={base}", "sft.max_length=50", "sft.per_device_train_batch_size=2"])
    rows = [[10, 15], [20, 45], [5, 8]]  # 25, cut to 50, and 13 tokens
    known = tokens(rows, recipe.sft)
    assert (known.longest, known.measured) == (50, True)
    assert known.each_step == pytest.approx(2 * 2 * (25 + 50 + 13) / 3)  # batch 2, accumulation 2
    bound = tokens([], recipe.dpo)
    assert (bound.longest, bound.each_step, bound.measured) == (2048, 2 * 2 * 2048, False)  # a pair is two rows
    assert tokens([[10, 30]], recipe.dpo).each_step == 2 * 2 * 40


@pytest.mark.parametrize(("rows", "batch", "accumulation", "epochs"), [(5, 1, 2, 1.0), (9, 2, 2, 2.5), (4, 8, 4, 3.0)])
def test_steps_are_those_that_the_trainer_takes(tmp_path, rows, batch, accumulation, epochs):
    from transformers import Trainer, TrainingArguments

    class Line(torch.nn.Linear):
        def forward(self, x):
            return {"loss": super().forward(x).square().mean()}

    same = {
        "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "num_train_epochs": epochs,
    }  # fmt: skip
    settings = TrainingArguments(
        tmp_path, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no", **same
    )
    data = [{"x": torch.ones(1)} for _ in range(rows)]
    trained = Trainer(Line(1, 1), settings, train_dataset=data).train()
    assert plan.steps(rows, Sft(**same)) == trained.global_step


def test_the_published_split_takes_4431_steps():
    recipe = recipe_file.load(RECIPE)
    assert plan.steps(8_861, recipe.sft) == 4_431  # pairs of rows, the last one alone


def test_a_base_on_the_hub_is_planned_by_fetching_its_configuration_only(base, rows, tmp_path):
    token, weights = new_token(), b"\0" * 70_000
    with LocalHub(tmp_path / "hub", tokens={token: "alice"}) as hub:
        api = HfApi(endpoint=hub.url, token=token)
        api.create_repo("alice/tiny", private=True)
        config = (base / "config.json").read_bytes()
        files = {"config.json": config, "model.safetensors": weights, "tf_model.h5": b"a format that is not fetched"}
        for name, content in files.items():
            api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id="alice/tiny")
        environment = {**os.environ, **hub.environment(token), "HF_HOME": str(tmp_path / "home")}
        settings = ["--set", "base.model=alice/tiny", "--set", f"data.source={rows}"]
        command = [sys.executable, "-m", "localpsych_recipes.cli", "plan", str(RECIPE), *settings]
        done = subprocess.run(command, env=environment, cwd=RECIPE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"base: {(len(weights) + len(config)) / 1000:.1f} kB" in done.stdout
    assert "alice/gemma4-e4b-psych-GGUF (private)" in done.stdout
    fetched = {path.name for path in (tmp_path / "home").rglob("snapshots/*/*")}
    assert fetched == {"config.json"}


def test_an_unknown_base_is_one_message_and_exit_code_2(capsys):
    assert cli.main(["plan", str(RECIPE), "--set", "base.model=nobody/nothing"]) == 2
    said = capsys.readouterr().err
    assert "nobody/nothing cannot be fetched" in said and "Traceback" not in said


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    with pytest.raises(UserError, match="no config.json"):
        planned(f"base.model={tmp_path}")


def test_code_that_comes_with_a_configuration_is_not_run(tmp_path):
    """Phi-3's own repository names Python files in `auto_map`; transformers has the architecture itself."""
    tiny_models.config("phi3").save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    assert type(skeleton.meta_model(tmp_path)).__name__ == "Phi3ForCausalLM"
    settings["model_type"] = "known_to_nobody"
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="upgrade transformers"):
        skeleton.meta_model(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_gpu_that_is_asked_for_gets_a_verdict_and_says_what_is_not_verified(base, rows, capsys):
    settings = ["--set", f"base.model={base}", "--set", f"data.source={rows}"]
    assert cli.main(["plan", str(RECIPE), *settings]) == 0
    assert "GPU" in capsys.readouterr().out
    made = plan.render(plan.plan(recipe_file.load(RECIPE, settings[1::2]), gpu="RTX 3050 Ti"))
    assert "FITS: " in made and "RTX 3050 Ti Laptop has 3.68" in made
    assert "unverified: no GPU run has been compared with this table yet" in made
    assert "(upper bound: every row taken as long as max_length)" in made


def test_what_a_plan_adds_up_is_what_it_shows(base, rows):
    made = planned(f"base.model={base}", f"data.source={rows}")
    for stage in made.stages.values():
        lines = stage.memory.lines
        assert stage.memory.allocated == sum(line.bytes for line in lines) and all(line.how for line in lines)
        assert stage.memory.needed > stage.memory.allocated
    reference = [line.what for line in made.stages["dpo"].memory.lines if "reference" in line.what]
    assert len(reference) == 1 and not any("reference" in line.what for line in made.stages["sft"].memory.lines)


@pytest.mark.parametrize(
    ("name", "gpu", "paged"),
    [
        ("adamw_torch", 8 * 200_000 + 8 * 5_000 + 8 * 100, 0),
        ("paged_adamw_32bit", 8 * 5_000 + 8 * 100, 8 * 200_000),
        ("adamw_8bit", 2 * (200_000 + 4 * 782) + 2 * (5_000 + 4 * 20) + 8 * 100, 0),  # 782 and 20 blocks of 256
        ("paged_adamw_8bit", 2 * 4 * 782 + 2 * (5_000 + 4 * 20) + 8 * 100, 2 * 200_000),
        ("sgd", 0, 0),
    ],
)
def test_an_optimisers_state_is_what_bitsandbytes_keeps(name, gpu, paged):
    assert optimizer([200_000, 5_000, 100], name) == (gpu, paged)


@pytest.mark.parametrize("name", ["adamw_torch", "adamw_8bit", "lion_8bit", "rmsprop_bnb_8bit", "sgd"])
def test_an_optimisers_state_is_what_the_real_one_keeps(tmp_path, name):
    from transformers import Trainer, TrainingArguments

    shapes = [(300, 700), (16, 64), (64, 128)]
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(shape)) for shape in shapes])
    settings = TrainingArguments(tmp_path, use_cpu=True, report_to="none", optim=name)
    made = Trainer(model, settings).create_optimizer()
    sum(parameter.square().sum() for parameter in model).backward()
    made.step()
    state = [
        value for state in made.state.values() for key, value in state.items()
        if isinstance(value, torch.Tensor) and value.numel() > 1 and "qmap" not in key
    ]  # fmt: skip
    assert sum(tensor.nbytes for tensor in state) == sum(optimizer([math.prod(shape) for shape in shapes], name))


def test_what_the_pairs_stage_asks_for_is_planned_by_hand(base, rows, capsys):
    """21 rows, 3 held out; each prompt has 4 answers, and a verdict on each and on the data's own."""
    data = f"data={{source: {rows}, test_size: 0.1, columns: {{prompt: question, response: response_j}}}}"
    recipe = [str(RECIPE), "--set", f"base.model={base}", "--set", data]
    assert cli.main(["plan", *recipe, "--set", "pairs={candidates: 4, max_prompts: 10}"]) == 0
    said = capsys.readouterr().out
    assert "for each of 13 prompts 4 answers of up to 512 tokens by transformers: 52" in said
    assert (
        "for each of them 5 verdicts of up to 256 tokens by Qwen/Qwen3-8B or Qwen/Qwen3-4B in transformers: 65 at most"
        in said
    )
    assert "dpo: unknown (the pairs stage makes them, and its judge decides how many are kept)" in said
    assert "judge Qwen/Qwen3-8B, at most: unknown (the Hub does not say" in said
    pairwise = "pairs={candidates: 4, max_prompts: 10, mode: pairwise}"
    there = "judge.server=http://127.0.0.1:8080/v1"
    assert cli.main(["plan", *recipe, "--set", pairwise, "--set", there]) == 0
    assert (
        "for each of them 8 verdicts of up to 256 tokens by the model at http://127.0.0.1:8080/v1"
        in capsys.readouterr().out
    )


def test_what_each_model_is_asked_in_the_evaluation_is_planned(base, rows):
    settings = (
        "gates=[]",
        "evaluate={suite_prompts: 1, rows: 5, judge: true}",
        f"base.model={base}",
        f"data.source={rows}",
    )
    made = planned(*settings)
    categories = {prompt.category for prompt in suites.load("mental-health").prompts}
    asked = f"up to 5 held-out conversations and {len(categories)} prompts of a suite, answers of up to 384 tokens"
    assert made.evaluation[0] == f"each of base, sft, dpo, Q4_K_M, Q5_K_M, Q8_0: {asked}"
    assert made.evaluation[-1] == "verdicts on up to 200 prompts by Qwen/Qwen3-8B or Qwen/Qwen3-4B in transformers"
    assert "judge Qwen/Qwen3-8B, at most" in made.downloads
