"""A complete tiny Gemma 4, made in about a minute on two cores and taught a little English from the text beside it.

    python -m localpsych_recipes.demo.tiny_gemma4 FOLDER

Everything that makes Gemma 4 special is there in small: three towers, shared K/V, per-layer embeddings, sliding and
full attention with head widths of their own, tied embeddings, softcapped logits, its tokenizer's structure and its
chat template. Nothing comes from Google's weights.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localpsych_recipes.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration, GemmaTokenizer

Rows = list[list[int]]
DATA = Path(__file__).with_name("data")
STEPS, BATCH, LEARNING_RATE, WARMUP = 500, 8, 4e-3, 20
QUESTION_EPOCHS = 2
INITIALIZER_RANGE = 0.08  # Gemma's 0.02 suits its width; at width 256 it learns a third slower
VOCAB_SIZE = 3072  # nearly every word of the shipped text is one token, so answers hold few invented words
THREADS = 2  # part of the result: the order of floating-point sums depends on it

# The attribute names are those of Gemma 4's tokenizer_config.json; the order gives the ids, <pad> first.
SPECIAL_TOKENS = {
    "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>", "mask_token": "<mask>",
    "std_token": "<|tool>", "etd_token": "<tool|>", "stc_token": "<|tool_call>", "etc_token": "<tool_call|>",
    "str_token": "<|tool_response>", "etr_token": "<tool_response|>", "escape_token": '<|"|>',
    "think_token": "<|think|>", "soc_token": "<|channel>", "eoc_token": "<channel|>",
    "sot_token": "<|turn>", "eot_token": "<turn|>",
    "boi_token": "<|image>", "image_token": "<|image|>", "eoi_token": "<image|>",
    "boa_token": "<|audio>", "audio_token": "<|audio|>", "eoa_token": "<audio|>", "video_token": "<|video|>",
}  # fmt: skip
IDS = {name: index for index, name in enumerate(SPECIAL_TOKENS)}
# Ends a turn, as in Gemma 4's generation_config.json: <eos>, <turn|> and the call for a tool's answer.
EOS_TOKEN_IDS = [IDS["eos_token"], IDS["eot_token"], IDS["str_token"]]

CARD = """---
license: apache-2.0
language:
- en
library_name: transformers
pipeline_tag: text-generation
tags:
- gemma4
- toy
---

# A tiny Gemma 4 for demonstrations

A toy of {parameters:,} parameters, made from random numbers by localpsych-recipes and taught a few hundred
everyday sentences. It has Gemma 4's architecture and is not derived from Google's weights.

It exists to try a recipe from end to end on a laptop. It knows nothing, must not be used for advice of any kind, and
is no stand-in for a real base model.
"""


def make(folder: Path, *, seed: int = 0, steps: int = STEPS, say: Callable[[str], object] = print) -> None:
    """Writes the model to `folder` in the Hub's layout, bfloat16, 3 to 10 million parameters.

    The same seed gives the same bytes on the same machine. `steps` is the number of optimiser steps; fewer give a
    model of the same shape with worse English. Raises UserError if `folder` is there already.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(
            f"{folder} is there already", "a folder that does not exist yet", "name another one or remove it"
        )
    exchanges, questions = read_english(), read_questions()
    tokenizer = make_tokenizer(shipped_text())
    with fixed_arithmetic(seed):
        model = make_model(len(tokenizer))
        teach(model, *rows_of_ids(tokenizer, exchanges, questions), steps, say)
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    save(model, tokenizer, unfinished)
    unfinished.rename(folder)
    say(f"tiny Gemma 4: {sum(p.numel() for p in model.parameters()):,} parameters in {folder}")


def read_english() -> list[tuple[str, str]]:
    """english.txt as (question, answer): two lines each, an empty line between."""
    blocks = (DATA / "english.txt").read_text(encoding="utf-8").strip().split("\n\n")
    return [(question, answer) for question, answer in (block.split("\n") for block in blocks)]


def read_questions() -> list[str]:
    """The demo dataset's questions. Its answers stay unseen: they are what fine-tuning is to teach."""
    return [row["question"] for row in read_conversations()]


def read_conversations() -> list[dict[str, str]]:
    with open(DATA / "conversations.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def shipped_text() -> list[str]:
    """Every text that the vocabulary must cover, the dataset's answers included: words only, nothing is taught here."""
    return [text for pair in read_english() for text in pair] + [
        row[column] for row in read_conversations() for column in ("question", "response_j", "response_k")
    ]


def make_tokenizer(texts: list[str]) -> GemmaTokenizer:
    """Gemma's tokenizer (BPE, byte fallback, `▁` for the space) with merges learnt from `texts`, Gemma 4's tokens."""
    from transformers import GemmaTokenizer
    from trl.chat_template_utils import gemma4_v5_chat_template

    bpe = learn_bpe(texts)
    own = {"unk_token", "bos_token", "eos_token", "pad_token", "mask_token"}
    extra = {name: token for name, token in SPECIAL_TOKENS.items() if name not in own}
    return GemmaTokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(merge) for merge in bpe["merges"]],
        extra_special_tokens=extra,
        chat_template=gemma4_v5_chat_template,
        add_bos_token=True,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def learn_bpe(texts: list[str]) -> dict[str, Any]:
    """Vocabulary and merges: special tokens, 256 bytes, printable ASCII, then the words of `texts` by frequency.

    Gemma applies its merges without splitting into words first. They are learnt with such a split, or the most
    frequent phrases would become tokens.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁?\p{L}+(?:['’]\p{L}+)?|[^\p{L}]"), "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[*SPECIAL_TOKENS.values(), *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=["\n", "▁", *(chr(code) for code in range(33, 127))],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    return json.loads(learner.to_str())["model"]


def make_config(vocab_size: int) -> Gemma4Config:
    """Gemma 4 E4B's config.json in small. Every row length of the language model is a multiple of 256.

    llama-quantize packs k-quants in blocks of 256 weights; rows of other lengths get another type, with a warning only.
    """
    from transformers import Gemma4Config

    text = dict(
        vocab_size=vocab_size, vocab_size_per_layer_input=vocab_size, hidden_size=256, hidden_size_per_layer_input=256,
        intermediate_size=512, num_hidden_layers=4, num_kv_shared_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=256, global_head_dim=512, layer_types=["sliding_attention", "full_attention"] * 2, sliding_window=128,
        max_position_embeddings=2048, final_logit_softcapping=30.0, tie_word_embeddings=True,
        pad_token_id=IDS["pad_token"], eos_token_id=IDS["eos_token"], bos_token_id=IDS["bos_token"],
        initializer_range=INITIALIZER_RANGE,
    )  # fmt: skip
    vision = dict(
        hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        head_dim=32, position_embedding_size=64, max_position_embeddings=2048,
    )  # fmt: skip
    audio = dict(
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        output_proj_dims=64,
        subsampling_conv_channels=[16, 8],
    )
    return Gemma4Config(
        text_config=text, vision_config=vision, audio_config=audio, tie_word_embeddings=True,
        boi_token_id=IDS["boi_token"], image_token_id=IDS["image_token"], eoi_token_id=IDS["eoi_token"],
        boa_token_id=IDS["boa_token"], audio_token_id=IDS["audio_token"], eoa_token_index=IDS["eoa_token"],
        video_token_id=IDS["video_token"],
    )  # fmt: skip


def make_model(vocab_size: int) -> Gemma4ForConditionalGeneration:
    """Random float32 weights. Gemma 4 has no 1/sqrt(head_dim) in its attention; the K norms carry it from the start."""
    import torch
    from transformers import Gemma4ForConditionalGeneration

    model = Gemma4ForConditionalGeneration(make_config(vocab_size))
    for layer in model.model.language_model.layers:
        if not layer.self_attn.is_kv_shared_layer:
            torch.nn.init.constant_(layer.self_attn.k_norm.weight, layer.self_attn.head_dim**-0.5)
    return model


def rows_of_ids(tokenizer: GemmaTokenizer, exchanges: list[tuple[str, str]], questions: list[str]) -> tuple[Rows, Rows]:
    """Token ids of (every exchange as a chat and every answer alone, the dataset's questions alone).

    An answer alone is learnt from its own words, so that it comes out whole after any question.
    """
    asked = [{"role": "user", "content": question} for question, _ in exchanges]
    answers = [{"role": "assistant", "content": answer} for _, answer in exchanges]
    chats = [[question, answer] for question, answer in zip(asked, answers)] + [[answer] for answer in answers]
    alone = [[{"role": "user", "content": question}] for question in questions]
    ids = [[list(tokenizer.apply_chat_template(chat, return_dict=False)) for chat in group] for group in (chats, alone)]
    return ids[0], ids[1]


def teach(
    model: Gemma4ForConditionalGeneration, chats: Rows, questions: Rows, steps: int, say: Callable[[str], object]
) -> None:
    """Plain next-token training of the language model on whole rows: AdamW, warm-up, cosine to zero, clipping at 1."""
    import torch

    weights = list(model.model.language_model.parameters())  # the embeddings are tied, so this is the head too
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    model.train()
    started = said = time.monotonic()
    for step, (ids, labels) in zip(range(1, steps + 1), batches(chats, questions)):
        loss = model(
            input_ids=ids,
            attention_mask=(labels != -100).long(),
            labels=labels,
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step(), schedule.step(), optimizer.zero_grad()
        if time.monotonic() - said > 10 or step == steps:
            said = time.monotonic()
            left = (said - started) / step * (steps - step)
            say(f"  English: step {step} of {steps}, loss {loss.item():.2f}, about {left:.0f} s left")
    model.eval()


def learning_rate_factor(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def batches(chats: Rows, questions: Rows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (ids, labels), each (BATCH, longest row of the batch): every row once an epoch, padding unlabelled."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    for epoch in itertools.count():
        rows = chats + questions if epoch < QUESTION_EPOCHS else chats
        for chosen in torch.randperm(len(rows)).split(BATCH):
            tensors = [torch.tensor(rows[index]) for index in chosen.tolist()]
            yield (
                pad_sequence(tensors, batch_first=True, padding_value=IDS["pad_token"]),
                pad_sequence(tensors, batch_first=True, padding_value=-100),
            )


@contextmanager
def fixed_arithmetic(seed: int) -> Iterator[None]:
    """One seed and one number of threads inside; the caller's generator and threads are as before afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def save(model: Gemma4ForConditionalGeneration, tokenizer: GemmaTokenizer, folder: Path) -> None:
    """The files of a model repository. No processor_config.json: Gemma4Processor needs torchvision."""
    import torch
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        bos_token_id=IDS["bos_token"], eos_token_id=EOS_TOKEN_IDS, pad_token_id=IDS["pad_token"],
        do_sample=True, temperature=1.0, top_k=64, top_p=0.95,
    )  # fmt: skip
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    parameters = sum(p.numel() for p in model.parameters())
    (folder / "README.md").write_text(CARD.format(parameters=parameters), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m localpsych_recipes.demo.tiny_gemma4 FOLDER")
    try:
        make(Path(sys.argv[1]))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
