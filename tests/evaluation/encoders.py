"""What encoders and classifiers of tests have in common: a tokenizer of whole words, and BERT's sizes at their smallest."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}


def tokenizer(folder: Path, words: Sequence[str], **settings: Any) -> int:
    """Writes BERT's tokenizer of these words alone; gives the height of the embedding. settings: of the tokenizer."""
    vocabulary = {word: number for number, word in enumerate((*SPECIAL.values(), *dict.fromkeys(words)))}
    made = Tokenizer(models.WordLevel(vocabulary, SPECIAL["unk_token"]))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    around = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    PreTrainedTokenizerFast(tokenizer_object=made, **SPECIAL, **settings).save_pretrained(folder)
    return len(vocabulary)


# what a folder lacks or has that is wrong -> the reason that a report gives
SPOILT = (
    ("pytorch_model.bin", "no *.safetensors"),
    ("gone", "no model is there"),
    ("tokenizer.json", "no tokenizer is in it"),
    ("config.json", "transformers cannot load it (OSError)"),
)


def spoilt(model: Path, folder: Path, what: str) -> Path:
    """A copy of the model in `folder`, spoilt in one of these ways."""
    if what != "gone":
        shutil.copytree(model, folder)
    if what == "pytorch_model.bin":
        torch.save(load_file(folder / "model.safetensors"), folder / what)
        (folder / "model.safetensors").unlink()
    if what == "tokenizer.json":
        (folder / what).unlink()
    if what == "config.json":
        (folder / what).write_text("{")
    return folder
