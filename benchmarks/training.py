"""SFT and DPO: tokens per second and peak memory, of this engine and of a bare TRL script on the same rows.

    python benchmarks/training.py [--pairs 9] [--stages sft dpo] [--data FILE.csv] [--steps 12] [--hidden 256] ...

Each training is a process of its own, in turns (ABCABC...), on the same rows in the same order from the same weights:

- defaults: this engine as it comes;
- equal: this engine with every gain off (`padding_free: false`, TRL's head as TRL has it), so that what is left beside
  the script is overhead;
- TRL: a script of TRL, transformers and PEFT alone, with the settings of a published notebook: one row at a time, eight
  of them accumulated, no packing.

tokens/s are real tokens, prompts included and padding not, of the steps behind the first two, from the end of one step
to the end of the last; process s is the whole process, imports and a last checkpoint included. Ratios are of each round:
their median, and their range; those of the steps' CPU seconds mean the same on a busy machine. The losses of all steps are compared before anything is printed. Rows are those of --data
(a CSV file with questionText and answerText, as Counsel Chat's); without it, words drawn by lot, as many of them as there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import children

DATA = children.CHECKOUT.parent / "shared" / "data" / "counsel_chat" / "20200325_counsel_chat.csv"
VARIANTS = ("defaults", "equal", "TRL")
WARMING = 2  # steps
ROWS_A_STEP = 8


def main() -> None:
    options = _options()
    if options.step:
        sys.path.insert(0, str(children.CHECKOUT))
        STEPS[options.step](options)
        return
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        options.folder = Path(folder)
        _child(options, "build")
        for stage in options.stages:
            _compare(stage, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9, help="rounds")
    parser.add_argument("--stages", nargs="+", choices=("sft", "dpo"), default=["sft", "dpo"])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--steps", type=int, default=12, help="optimiser steps of eight rows")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--dtype", default="float32")
    for name in ("--step", "--stage", "--variant"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _child(options: argparse.Namespace, step: str, stage: str = "", variant: str = "") -> children.Spent:
    own = ["--step", step, "--folder", options.folder, "--stage", stage, "--variant", variant]
    return children.spent([sys.executable, __file__, *sys.argv[1:], *own])


def _compare(stage: str, options: argparse.Namespace) -> None:
    rounds: dict[str, list[dict]] = {variant: [] for variant in VARIANTS}
    for _ in range(options.pairs):
        for variant in VARIANTS:
            spent = _child(options, "train", stage, variant)
            found = json.loads((options.folder / f"{stage}-{variant}.json").read_text())
            rounds[variant].append({**found, "process": spent.seconds, "cpu": spent.cpu, "peak": spent.peak})
    _equal_losses(rounds)
    print(f"{stage}{'tokens/s':>19}{'process s':>11}{'CPU s':>8}{'peak GB':>9}   time to TRL's, median (range)")
    for variant, found in rounds.items():
        speed = statistics.median(one["tokens"] / one["seconds"] for one in found)
        process, cpu, peak = (statistics.median(one[what] for one in found) for what in ("process", "cpu", "peak"))
        print(
            f"{variant:12}{speed:10.0f}{process:11.1f}{cpu:8.1f}{peak:9.2f}   {_ratios(found, rounds['TRL'])}",
            flush=True,
        )


def _ratios(found: list[dict], peer: list[dict]) -> str:
    told = []
    for what in ("seconds", "processor", "process"):
        ratios = sorted(one[what] / other[what] for one, other in zip(found, peer, strict=True))
        told.append(f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    return f"steps {told[0]}, their CPU {told[1]}, process {told[2]}"


def _equal_losses(rounds: dict[str, list[dict]]) -> None:
    expected = rounds["TRL"][0]["losses"]
    furthest = max(
        abs(a - b) / abs(b)
        for found in rounds.values()
        for one in found
        for a, b in zip(one["losses"], expected, strict=True)
    )
    print(f"losses of {len(expected)} steps: at most {furthest:.1e} apart")
    if furthest > 1e-3:
        sys.exit("these trainings are not the same")


def build(options: argparse.Namespace) -> None:
    """A random model, a tokenizer that has learnt its vocabulary from the rows, and the rows as both sides read them."""
    from localpsych_recipes import data
    from localpsych_recipes.rundir import RunDir

    rows = _rows(options)
    _tokenizer([text for row in rows for text in row], options).save_pretrained(options.folder / "base")
    _model(options).save_pretrained(options.folder / "base")
    made = {"sft": [], "pairs": []}
    for (question, answer), (_, other) in zip(rows, rows[1:] + rows[:1], strict=True):
        prompt, better = [{"role": "user", "content": question}], [{"role": "assistant", "content": answer}]
        made["sft"].append({"prompt": prompt, "completion": better})
        made["pairs"].append(
            {"prompt": prompt, "chosen": better, "rejected": [{"role": "assistant", "content": other}]}
        )
    folder = RunDir(options.folder).data
    folder.mkdir()
    for kind, written in made.items():
        data.write_rows(written, folder / f"{kind}_train.jsonl")


def _rows(options: argparse.Namespace) -> list[tuple[str, str]]:
    import csv
    import random

    chance, wanted = random.Random(0), options.steps * ROWS_A_STEP
    if not options.data.exists():
        words = ["".join(chance.choices("etaoinshrdlucm", k=chance.randint(2, 9))) for _ in range(5_000)]
        # about as many words as Counsel Chat's questions and answers have
        lengths = [(chance.randint(20, 90), int(chance.lognormvariate(5.0, 0.6))) for _ in range(wanted)]
        return [(" ".join(chance.choices(words, k=q)), " ".join(chance.choices(words, k=a))) for q, a in lengths]
    csv.field_size_limit(2**31 - 1)
    with options.data.open(encoding="utf-8", newline="") as file:
        found = [(row["questionText"], row["answerText"]) for row in csv.DictReader(file)]
    return chance.sample([row for row in found if all(row)], wanted)


def _tokenizer(texts: list[str], options: argparse.Namespace):
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    learnt = ByteLevelBPETokenizer()
    learnt.train_from_iterator(
        texts, options.vocabulary, min_frequency=1, special_tokens=["<pad>", "<end>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learnt._tokenizer, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<end>' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    return tokenizer


def _model(options: argparse.Namespace):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        intermediate_size=3 * options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64,
        num_key_value_heads=max(1, options.hidden // 128),
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config).to(getattr(torch, options.dtype))


def train(options: argparse.Namespace) -> None:
    trainer, work = (_bare if options.variant == "TRL" else _engine)(options)
    clock = _clock()
    trainer.add_callback(clock)
    work()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    tokens = steps[-1]["num_tokens"] - steps[WARMING - 1]["num_tokens"]
    found = {
        "tokens": tokens,
        **{what: clock.ends[-1][i] - clock.ends[WARMING - 1][i] for i, what in enumerate(("seconds", "processor"))},
        "losses": [entry["loss"] for entry in steps],
    }
    (options.folder / f"{options.stage}-{options.variant}.json").write_text(json.dumps(found))


def _clock():
    import time

    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[tuple[float, float]] = []

        def on_step_end(self, args, state, control, **kwargs):
            self.ends.append((time.monotonic(), time.process_time()))

    return Clock()


def _engine(options: argparse.Namespace):
    from transformers import set_seed

    from localpsych_recipes import environment

    environment.settle()
    from localpsych_recipes import fused_head, models, training
    from localpsych_recipes.pipeline import Run
    from localpsych_recipes.rundir import RunDir
    from localpsych_recipes.stages import dpo, sft

    base = options.folder / "base"
    recipe = _recipe(options)
    if options.variant == "equal":
        fused_head.fit_to_cpu = lambda: None
    run = Run(recipe, RunDir(options.folder), say=lambda text: None, fingerprint=options.variant)
    set_seed(recipe.seed)
    tokenizer = models.load_tokenizer(base)
    model = models.new_adapter(models.load_base(recipe.base, base), recipe.lora)
    trainer = {"sft": sft, "dpo": dpo}[options.stage].make_trainer(run, model, tokenizer)
    run.dir.forget_checkpoints(options.stage, but="")
    return trainer, lambda: training.train(trainer, run, getattr(recipe, options.stage))


def _recipe(options: argparse.Namespace):
    from localpsych_recipes.recipe import Recipe

    knobs = _settings(options) | {"padding_free": options.variant == "defaults"}
    del knobs["num_train_epochs"]
    return Recipe.model_validate(
        {
            "name": "benchmark",
            "base": {"model": str(options.folder / "base"), "dtype": options.dtype, "quantization": "none"},
            "data": {"source": "rows.csv", "columns": {"prompt": "q", "chosen": "a", "rejected": "b"}},
            "lora": {"r": 16, "lora_alpha": 32, "target_modules": "all"},
            options.stage: knobs,
        }
    )


def _settings(options: argparse.Namespace) -> dict:
    return {
        "learning_rate": 2e-4,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": ROWS_A_STEP,
        "optim": "adamw_torch",
        "max_length": options.max_length,
        "logging_steps": 1,
        "report_to": "none",
    }


def _bare(options: argparse.Namespace):
    import torch
    from datasets import load_dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    kind, own, make, config = {
        "sft": ("sft", {}, SFTTrainer, SFTConfig),
        "dpo": (
            "pairs",
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.1], "precompute_ref_log_probs": True},
            DPOTrainer,
            DPOConfig,
        ),
    }[options.stage]
    base = options.folder / "base"
    set_seed(42)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, options.dtype))
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    arguments = config(
        **_settings(options),
        **own,
        output_dir=str(options.folder / f"bare-{options.stage}"),
        lr_scheduler_type="linear",
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=options.dtype == "bfloat16",
        seed=42,
        disable_tqdm=True,
        use_cpu=not torch.accelerator.is_available(),
    )
    rows = load_dataset(
        "json", data_files=str(options.folder / "data" / f"{kind}_train.jsonl"), split="train",
        cache_dir=str(options.folder / "bare-cache"),
    )  # fmt: skip
    trainer = make(
        model=model, args=arguments, train_dataset=rows, processing_class=AutoTokenizer.from_pretrained(base)
    )
    return trainer, trainer.train


STEPS = {"build": build, "train": train}

if __name__ == "__main__":
    main()
