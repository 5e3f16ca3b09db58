"""How much disk a comparison takes for a while, known before any of it is used."""

from __future__ import annotations

import shutil
from pathlib import Path

from localpsych_recipes import skeleton
from localpsych_recipes.errors import UserError
from localpsych_recipes.merging.shards import weight_files
from localpsych_recipes.progress import amount
from localpsych_recipes.recipe import Verify
from localpsych_recipes.verification.chunks import scored
from localpsych_recipes.verification.release import Release

SPARE = 64 << 20  # left free, for whatever else runs


def needed(knobs: Verify, vocab: int, *, ggufs: bool, base: int = 0, merged: int = 0) -> int:
    """Bytes at the fullest moment; vocab: width of the model's logits; ggufs: whether there are any to compare.

    base, merged: bytes of the 16-bit GGUFs that are made for it, 0 for one that is there already or is not compared.
    """
    tokens = scored(knobs.context)
    logits = 4 * vocab * tokens * knobs.chunks  # float32; of two models at once, see in_process
    references = [2 * (vocab + 4) * tokens * pieces for pieces in (knobs.chunks, knobs.quant_chunks)]  # see reference
    in_llama_cpp = [logits + references[0] + merged, references[1] + merged + base] if ggufs else []
    return max([2 * logits, *in_llama_cpp])


def of_release(release: Release, knobs: Verify) -> int:
    """The same for a release; of a GGUF that is to be made at most what the folder's weights take."""
    vocab = skeleton.read_config(release.base_folder).get_text_config().vocab_size
    ggufs = bool(release.merged and (release.ggufs or release.adapter_gguf))
    base = _bytes(release.base_folder) if ggufs and release.adapter_gguf else 0
    merged = _bytes(release.merged) if ggufs and not release.sixteen_bit else 0
    return needed(knobs, vocab, ggufs=ggufs, base=base, merged=merged)


def refuse_little(folder: Path, size: int) -> str:
    """What is needed and free, in words. UserError where that is too little."""
    free = shutil.disk_usage(folder).free
    words = f"{amount(size, 'bytes')} of disk for a while, {amount(free, 'bytes')} are free"
    if free < size + SPARE:
        raise UserError(
            f"comparing the models takes {words}",
            "room for their logits",
            "free space; lower verify.chunks or verify.quant_chunks; or, for a release on the Hub, set TMPDIR",
        )
    return words


def _bytes(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in weight_files(folder))
    except UserError:  # a damaged folder, which its own hop tells of
        return 0
