"""One public function: base folder + adapter folder -> merged folder."""

from __future__ import annotations

import errno
import fnmatch
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from localpsych_recipes.errors import UserError
from localpsych_recipes.merging.adapter import Change, read_adapter
from localpsych_recipes.merging.deltas import merged_blocks
from localpsych_recipes.merging.fit import check_base, match
from localpsych_recipes.merging.names import names_of
from localpsych_recipes.merging.shards import StoredTensor, read_header, rewrite, weight_files
from localpsych_recipes.rundir import replacing

Shards = Mapping[Path, Mapping[str, StoredTensor]]  # file -> its tensors by name
Progress = Callable[[int, int], None]  # bytes written, bytes in all

# What a base's folder holds that does not belong to the merged model, and why.
NOT_COPIED: tuple[tuple[str, str], ...] = (
    ("README.md", "the base's card: the release gets its own"),
    (".gitattributes", "the Hub writes one for each repository"),
    (".git/*", "the base's history"),
    (".cache/*", "the Hub client's notes on its download"),
    ("*.safetensors", "a shard, which is merged instead, or other weights (consolidated*), unmerged"),
    ("original/*", "the base's weights in another format, unmerged; so are all below"),
    ("onnx/*", "ONNX"),
    ("*.onnx", "ONNX"),
    ("*.bin", "PyTorch"),
    ("*.pt", "PyTorch"),
    ("*.pth", "PyTorch"),
    ("*.h5", "TensorFlow"),
    ("*.msgpack", "Flax"),
    ("*.gguf", "llama.cpp"),
)
SPARE_BYTES = 64 << 20  # left free on the disk, for whatever else runs


@dataclass(frozen=True)
class MergeReport:
    """adapted_tensors, unchanged_tensors: how many the adapter changes, and how many are byte-identical to the base's.
    bytes: size of the merged shards. changes: on-disk name of each adapted tensor -> largest absolute change of an
    element, after rounding. tied: adapted tensors that the output head shares, so that merging changed the head too.
    """

    adapted_tensors: int
    unchanged_tensors: int
    bytes: int
    changes: Mapping[str, float]
    tied: tuple[str, ...] = ()

    @property
    def unchanged_adapted(self) -> tuple[str, ...]:
        """Adapted tensors that equal the base's: their delta is zero, or smaller than the stored dtype can show."""
        return tuple(name for name, change in self.changes.items() if change == 0.0)


def merge_adapter(base: Path, adapter: Path, out: Path, *, progress: Progress | None = None) -> MergeReport:
    """Write to `out` the model in `base` with the LoRA adapter in `adapter` merged into it, in the base's own dtype.

    Same numbers as PEFT's merge_and_unload to within one unit in the last place (nearly always to the bit): both add in
    float32 and round once. Only an embedding's delta does PEFT round before adding it, too. Shards, headers, index and
    every other file are the base's own, but for NOT_COPIED. Memory: the largest module's A and B and some blocks,
    whatever the model's size.
    An `out` that is there already is replaced at the end. progress: bytes of shards written, and in all.
    Raises UserError, before anything is written, if the base is quantised or not safetensors, if the adapter cannot be
    merged exactly or does not fit the base, or if the disk is too small; later, if the result is not finite.
    """
    base, adapter, out = Path(base), Path(adapter), Path(out)
    shards = {file: read_header(file) for file in weight_files(base)}
    stored = {name: tensor for tensors in shards.values() for name, tensor in tensors.items()}
    check_base(base, stored)
    names = names_of(base, stored)
    changes = match(read_adapter(adapter), names, stored)
    size, others = sum(file.stat().st_size for file in shards), _other_files(base)
    with _room_for(size + sum(file.stat().st_size for file in others), out), replacing(out) as folder:
        largest = _write_shards(shards, changes, folder, _counter(progress, size))
        _copy_files(others, base, folder)
    tied = tuple(names.on_disk[source] for source in names.tied.values() if names.on_disk.get(source) in changes)
    return MergeReport(len(changes), len(stored) - len(changes), size, largest, tied)


def _write_shards(
    shards: Shards, changes: Mapping[str, Change], folder: Path, wrote: Callable[[int], None]
) -> dict[str, float]:
    """Every shard, merged, into `folder`; returns the largest change of each adapted tensor."""
    largest = dict.fromkeys(sorted(changes), 0.0)

    def blocks(tensor: StoredTensor) -> Iterator[torch.Tensor]:
        for block, change in merged_blocks(tensor, changes[tensor.name]):
            largest[tensor.name] = max(largest[tensor.name], change)
            yield block

    with _one_thread():
        for file, tensors in shards.items():
            adapted = {name: partial(blocks, tensor) for name, tensor in tensors.items() if name in changes}
            rewrite(tensors.values(), file, folder / file.name, adapted, wrote)
    return largest


@contextmanager
def _one_thread() -> Iterator[None]:
    """A merge waits for the disk, and its blocks are too small to share: on busy cores a second thread only spins."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    """Adds up the sizes it is called with and tells `progress` the sum."""
    done = 0

    def wrote(size: int) -> None:
        nonlocal done
        done += size
        if progress:
            progress(done, total)

    return wrote


def _other_files(base: Path) -> list[Path]:
    """Every file that goes into the release unchanged: configurations, tokenizer, chat templates, licence."""
    files = {path: path.relative_to(base).as_posix() for path in sorted(base.rglob("*")) if path.is_file()}
    copied = [path for path, name in files.items() if not any(fnmatch.fnmatch(name, p) for p, _ in NOT_COPIED)]
    refuse_links_out(base, copied)
    return copied


def refuse_links_out(base: Path, copied: list[Path] | None = None) -> None:
    """UserError for a file of a base that is a link to somewhere else: what it points to would be published.

    Links into the Hub's cache, and from one place of it to another, are how the Hub's client lays out its downloads.
    """
    from huggingface_hub import constants

    folder = base.resolve()
    homes = [folder, Path(constants.HF_HUB_CACHE).resolve()]
    homes += [folder.parent.parent] if folder.parent.name == "snapshots" else []
    for path in _other_files(base) if copied is None else copied:
        if not any(path.resolve().is_relative_to(home) for home in homes):
            raise UserError(
                f"{path} is a link out of the base, and what it points to would be published",
                "a base whose files are its own, or links into the Hub's cache",
                "put the file itself there, or remove the link",
            )


def _copy_files(files: list[Path], base: Path, folder: Path) -> None:
    for file in files:
        target = folder / file.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)  # follows links: a Hub snapshot is made of them


@contextmanager
def _room_for(size: int, out: Path) -> Iterator[None]:
    """Raises UserError if `size` bytes do not fit beside `out`, now or on the way."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(out.parent).free) < size + SPARE_BYTES:
        raise _disk_full(out, f"{size / 1e9:.2f} GB; {free / 1e9:.2f} GB are free")
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _disk_full(out, f"{size / 1e9:.2f} GB; the disk filled up on the way") from error


def _disk_full(out: Path, need: str) -> UserError:
    return UserError(f"no room for the merged model in {out.parent}", need, "free space, or move the run directory")
