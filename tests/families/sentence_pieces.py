"""Tokenizers of SentencePiece's kind, as Gemma, Llama 2 and Phi-3 have: BPE with byte fallback and `▁` for the space.

One list of pieces becomes both files that such a base has: tokenizer.model, which llama.cpp's converter reads, and
tokenizer.json, which transformers reads. The two agree because every way to put a piece together is a merge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families.rows import ROWS

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
CHARACTERS = ["\n", "▁", *(chr(code) for code in range(33, 127))]
MERGED = 300  # pieces of more than one character: nearly every word of the rows
TEMPLATES = ["user model assistant system"]  # roles that a chat template spells in plain text


def pieces(first: list[str]) -> list[str]:
    """The vocabulary by id: `first`, the bytes, single characters, then longer pieces by their frequency in the rows."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    # neither Gemma nor Llama splits into words first, but whole phrases would become tokens if that was learnt from
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁?\p{L}+|[^\p{L}]"), "isolated")
    known = [*first, *BYTES, *CHARACTERS]
    trainer = trainers.BpeTrainer(
        vocab_size=len(known) + MERGED,
        special_tokens=[*first, *BYTES],
        initial_alphabet=CHARACTERS,
        show_progress=False,
    )
    learner.train_from_iterator([*TEMPLATES, *(text for row in ROWS for text in row)], trainer)
    longer = sorted(learner.get_vocab().keys() - set(known), key=learner.token_to_id)
    return [*known, *longer]


def bpe(vocabulary: list[str]) -> Any:
    """The `tokenizers` model of these pieces."""
    from tokenizers import models

    ids = {piece: i for i, piece in enumerate(vocabulary)}
    words = vocabulary[vocabulary.index(BYTES[-1]) + 1 :]
    splits = [(word[:cut], word[cut:]) for word in words for cut in range(1, len(word))]
    merges = [pair for pair in splits if ids.keys() >= set(pair)]
    return models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)


def write_model(vocabulary: list[str], file: Path) -> None:
    """tokenizer.model: a piece's score is minus its id, so that what was learnt first is merged first."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    kind, learnt = model.SentencePiece, vocabulary.index(BYTES[-1])
    for i, piece in enumerate(vocabulary):
        special = kind.UNKNOWN if piece == "<unk>" else kind.BYTE if piece in BYTES else kind.CONTROL
        model.pieces.add(piece=piece, score=-float(i), type=special if i <= learnt else kind.NORMAL)
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.unk_id = vocabulary.index("<unk>")
    file.write_bytes(model.SerializeToString())
