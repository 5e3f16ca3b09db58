"""What `torchrun` starts on two ranks: one of the functions below, by its name, with the words behind it."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path

from localpsych_recipes import cli, machine

RANKS = machine.ranks()


def slow() -> None:
    """The main process comes late, by more than any collective would wait; then both compute."""
    import torch

    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=1))
    if RANKS.main:
        time.sleep(4)
    machine.barrier(RANKS)
    found = torch.ones(1)
    torch.distributed.all_reduce(found)
    print(f"rank {RANKS.rank}: {found.item():.0f}", flush=True)
    machine.leave(RANKS)
    if RANKS.main:
        time.sleep(1)  # goes on when the other one has left, who is not missed


def unshared(folder: str) -> None:
    """Every rank has a folder of its own."""
    from localpsych_recipes import meeting

    meeting.SHARED_SECONDS = 1.0
    own = Path(folder) / str(RANKS.rank)
    own.mkdir()
    machine.refuse_unshared(RANKS, own)


def share(base: str, folder: str) -> None:
    generate(base, folder)
    divide(base, folder)


def divide(base: str, folder: str) -> None:
    """Two steps of a LoRA model, whole and divided by FSDP2; what is handed on of both, in FOLDER."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.distributed.fsdp import fully_shard
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from localpsych_recipes import training

    torch.distributed.init_process_group("gloo")
    mesh = torch.distributed.init_device_mesh("cpu", (RANKS.world,))
    rows = torch.arange(5, 21).reshape(2, 8)
    for name in ("whole", "divided"):
        torch.manual_seed(0)
        nf4 = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16,
            bnb_4bit_quant_storage=torch.bfloat16,
        )  # fmt: skip
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, quantization_config=nf4)
        for module in plain.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        targets = r".*language_model.*(q_proj|o_proj)"
        model = get_peft_model(plain, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
        own = rows
        if name == "divided":
            for layer in plain.get_submodule("model.language_model.layers"):
                fully_shard(layer, mesh=mesh)
            fully_shard(model, mesh=mesh)
            own = rows[RANKS.rank : RANKS.rank + 1]  # each rank a row: the mean of both is that of one process
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        for _ in range(2):
            model(input_ids=own, labels=own).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        tensors = training.whole_adapter(model)
        if RANKS.main:
            model.save_pretrained(Path(folder) / name, state_dict=tensors, save_embedding_layers=False)
    machine.leave(RANKS)


def generate(base: str, folder: str) -> None:
    """Answers of the base to a few prompts, shared by the ranks there are, in the ledger FOLDER/answers."""
    from localpsych_recipes.generation import Ledger, Request, Sampling, write_all
    from localpsych_recipes.generation.in_process import InProcess
    from localpsych_recipes.generation.weights import Weights
    from localpsych_recipes.recipe import Base

    loaded = Base(model=base, dtype="float32", quantization="none")
    writer = InProcess(Weights(loaded, Path(base), None, "tiny", "one"), 2, print, RANKS)
    prompts = [({"role": "user", "content": f"{'tell me more ' * number}now"},) for number in range(7)]
    requests = [Request(p, Sampling(temperature=1.0, max_tokens=8, seed=n)) for n, p in enumerate(prompts)]
    with Ledger(Path(folder), "answers", RANKS) as ledger:
        assert all(write_all(writer, requests, ledger, RANKS, lambda done, of: None))


if __name__ == "__main__":
    sys.exit(cli.guarded(lambda words: globals()[words[0]](*words[1:]) or 0, sys.argv[1:]))
