"""How far two models are apart: by transformers and NumPy, and by llama.cpp, which must agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from transformers import AutoModelForCausalLM

from localpsych_recipes import conversion, llama_cpp, models
from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp import LlamaCpp, ToolError
from localpsych_recipes.verification import chunks, divergence, logits, reference
from localpsych_recipes.verification.logits import Logits
from tests.families import bases

pytestmark = pytest.mark.usefixtures("one_thread")
CONTEXT, PIECES = 64, 8
WORDS = ("tired", "dog", "sleep", "friend", "alone", "baby", "failed", "father", "rest", "lonely", "hard", "town")


@dataclass(frozen=True)
class World:
    """A tiny Qwen3 and the same with an adapter merged into it by PEFT: folders, GGUFs, and what each says."""

    root: Path
    pieces: np.ndarray
    base: Logits
    merged: Logits

    def gguf(self, name: str) -> Path:
        return self.root / f"{name}.gguf"


@pytest.fixture(scope="module")
def world(llama: LlamaCpp, tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    base = bases.make(bases.SMALL_QWEN3, root / "base")
    adapter = tiny_models.adapter(base, root / "adapter", targets=["q_proj", "v_proj", "down_proj"], lora_alpha=16)
    plain = AutoModelForCausalLM.from_pretrained(base)
    merged = models.load_adapter(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    merged.save_pretrained(root / "merged")
    models.copy_tokenizer(base, root / "merged")
    for name in ("base", "merged"):
        conversion.to_gguf(llama, root / name, root / f"{name}.gguf", name=name)
    llama.convert_lora(base, adapter, root / "adapter.gguf", outtype="f32")
    pieces = chunks.make(conversations(), models.load_tokenizer(base), {"enable_thinking": False}, CONTEXT, PIECES)
    said = [logits.of_model(model, pieces, root / f"{i}", lambda text: None) for i, model in enumerate((plain, merged))]
    return World(root, pieces, *said)


def conversations() -> list[chunks.Messages]:
    random = np.random.default_rng(0)
    said = [" ".join(random.choice(WORDS, 8)) for _ in range(80)]
    roles = [{"role": role} for role in ("user", "assistant")]
    return [[roles[0] | {"content": a}, roles[1] | {"content": b}] for a, b in zip(said[::2], said[1::2], strict=True)]


def written(tmp_path: Path, rows: np.ndarray, targets: np.ndarray) -> Logits:
    file = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    file.write_bytes(rows.astype(np.float32).tobytes())
    return Logits(file, *rows.shape, targets)


# In this process


def test_each_measure_is_that_of_pytorchs_own_losses(tmp_path, monkeypatch):
    monkeypatch.setattr(logits, "BLOCK_VALUES", 7 * 50)  # seven rows at a time
    random = np.random.default_rng(0)
    rows, others = (3 * random.standard_normal((1001, 50)).astype(np.float32) for _ in range(2))
    targets = random.integers(0, 50, 1001)
    found = divergence.between(written(tmp_path, rows, targets), written(tmp_path, others, targets))

    one, other, ids = torch.tensor(rows).double(), torch.tensor(others).double(), torch.tensor(targets)
    pointwise = torch.nn.functional.kl_div(other.log_softmax(1), one.softmax(1), reduction="none").sum(1).sort().values
    assert found.kl == pytest.approx(pointwise.mean().item())
    assert found.kl_999 == pytest.approx(pointwise[999].item())  # of 1001, the one that one in a thousand exceeds
    assert found.kl_max == pytest.approx(pointwise[1000].item())
    assert found.top1 == (one.argmax(1) == other.argmax(1)).double().mean()
    assert found.loss_from == pytest.approx(torch.nn.functional.cross_entropy(one, ids).item())
    assert found.loss_to == pytest.approx(torch.nn.functional.cross_entropy(other, ids).item())
    assert found.perplexity_ratio == pytest.approx(math.exp(found.loss_to) / math.exp(found.loss_from))
    apart = (one - other).abs()
    assert (found.logit_max, found.logit_mean) == pytest.approx((apart.max().item(), apart.mean().item()))


def test_columns_that_one_model_has_alone_are_left_out(tmp_path):
    rows, targets = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32), np.arange(20)
    padded = np.hstack([rows, np.full((20, 2), 9, np.float32)])
    found = divergence.between(written(tmp_path, padded, targets), written(tmp_path, rows, targets))
    assert (found.kl, found.top1, found.logit_max) == (0, 1, 0)


def test_models_that_read_other_tokens_cannot_be_compared(tmp_path):
    rows = np.zeros((3, 5), np.float32)
    with pytest.raises(ValueError, match="different tokens"):
        divergence.between(written(tmp_path, rows, np.arange(3)), written(tmp_path, rows, np.arange(1, 4)))


# The file of log-probabilities


def read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pieces and log-probabilities, by the text of llama.cpp's tools/perplexity/perplexity.cpp."""
    raw = file.read_bytes()[:-8]  # the exact loss
    assert raw[:8] == b"_logits_"
    context, vocab, count = np.frombuffer(raw[8:20], np.int32).tolist()
    ids = np.frombuffer(raw[20 : 20 + 4 * context * count], np.int32).reshape(count, context)
    rows = np.frombuffer(raw[20 + 4 * context * count :], np.uint16).reshape(-1, 2 * ((vocab + 1) // 2) + 4)
    step, floor = rows[:, :4].copy().view(np.float32).T[:, :, None]
    return ids, rows[:, 4 : 4 + vocab] * step + floor


@pytest.mark.parametrize("vocab", [40, 41])
def test_log_probabilities_are_as_exact_as_16_bits_are_down_to_16_nats_below_the_likeliest(vocab, tmp_path):
    rows = np.random.default_rng(0).uniform(-30, 0, (3, vocab)).astype(np.float32)
    pieces = np.arange(8, dtype=np.int32).reshape(1, 8)
    wide = np.hstack([rows, np.full((3, 5), 9, np.float32)])  # of an embedding that the GGUF's vocabulary is not
    reference.write(written(tmp_path, wide, pieces[0, 5:]), pieces, tmp_path / "file", vocab)
    ids, found = read(tmp_path / "file")
    expected = torch.tensor(rows).double().log_softmax(1).numpy()
    within = rows > rows.max(1, keepdims=True) - 16
    assert ids.tolist() == pieces.tolist() and 0 < within.sum() < within.size
    np.testing.assert_allclose(found[within], expected[within], atol=1.3e-4)
    np.testing.assert_allclose(
        found[~within], np.where(within, 0, expected.max(1, keepdims=True) - 16)[~within], rtol=1e-6
    )


def test_it_says_what_llama_perplexity_itself_would_have_written(world, llama, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(" ".join(np.random.default_rng(1).choice(WORDS, 200)))
    own = llama.reference(world.gguf("base"), text, tmp_path / "own", context=CONTEXT, chunks=4)
    pieces, expected = read(own)
    model = AutoModelForCausalLM.from_pretrained(world.root / "base")
    ours = logits.of_model(model, pieces, tmp_path / "logits", lambda text: None)
    reference.write(ours, pieces, tmp_path / "ours", llama_cpp.vocabulary(world.gguf("base")))
    again, found = read(tmp_path / "ours")
    assert again.tolist() == pieces.tolist() and own.stat().st_size == (tmp_path / "ours").stat().st_size
    np.testing.assert_allclose(found, expected, atol=0.01)  # llama.cpp keeps keys and values in 16 bit
    assert np.abs(found - expected).mean() < 1e-3


# By llama.cpp


def divergence_from(said: Logits, world: World, llama: LlamaCpp, gguf: Path, lora: Path | None = None):
    file = world.root / "reference"
    reference.write(said, world.pieces, file, llama_cpp.vocabulary(gguf))
    return llama.divergence(gguf, file, context=CONTEXT, lora=lora)


def test_a_gguf_says_what_its_model_says_at_the_same_ids_special_tokens_included(world, llama):
    marks = set(bases.QWEN3) & set(bases.token_ids(world.root / "base"))
    assert {bases.token_ids(world.root / "base")[mark] for mark in marks} & set(world.pieces.ravel().tolist())
    found = divergence_from(world.base, world, llama, world.gguf("base"))
    assert found.n == PIECES * 31
    assert found.kl == pytest.approx(0, abs=1e-4)
    assert found.top1 > 0.99  # a near-tie may fall the other way
    assert found.loss_to == pytest.approx(found.loss_from, abs=1e-3)


def test_llama_cpp_finds_another_model_as_far_away_as_transformers_does(world, llama):
    expected = divergence.between(world.base, world.merged)
    found = divergence_from(world.base, world, llama, world.gguf("merged"))
    assert expected.kl > 0.05 and expected.top1 < 0.9
    assert found.n == expected.n
    # the file's rounding is 1.2e-4 nats, that of 16-bit keys and values as large
    assert found.kl == pytest.approx(expected.kl, rel=0.01)
    assert (found.kl_999, found.kl_max) == pytest.approx((expected.kl_999, expected.kl_max), rel=0.01)
    assert found.top1 == pytest.approx(expected.top1, abs=1.5 / expected.n)
    assert (found.loss_from, found.loss_to) == pytest.approx((expected.loss_from, expected.loss_to), abs=1e-3)
    assert found.perplexity_ratio == pytest.approx(expected.perplexity_ratio, rel=1e-3)


def test_the_perplexity_of_a_text_that_surprises_the_model_is_not_cut_off(world, llama, tmp_path):
    """As it would be by a file of log-probabilities that end 16 nats below the likeliest token."""
    model = AutoModelForCausalLM.from_pretrained(world.root / "base")
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(4)
    model.save_pretrained(tmp_path / "sure")
    models.copy_tokenizer(world.root / "base", tmp_path / "sure")
    conversion.to_gguf(llama, tmp_path / "sure", tmp_path / "sure.gguf", name="sure")
    pieces = np.random.default_rng(0).integers(10, 500, (PIECES, CONTEXT), np.int32)
    said = logits.of_model(model, pieces, tmp_path / "logits", lambda text: None)
    reference.write(said, pieces, tmp_path / "said")
    found = llama.divergence(tmp_path / "sure.gguf", tmp_path / "said", context=CONTEXT)
    assert found.loss_to > 16
    assert found.loss_from == pytest.approx(divergence.between(said, said).loss_from, rel=1e-6)
    assert found.perplexity_ratio == pytest.approx(1, abs=0.02)


def test_the_adapter_on_the_base_is_the_merged_model_and_the_base_alone_is_not(world, llama):
    adapted = divergence_from(world.merged, world, llama, world.gguf("base"), world.gguf("adapter"))
    assert adapted.kl == pytest.approx(0, abs=2e-4)
    assert adapted.top1 > 0.99
    assert divergence_from(world.merged, world, llama, world.gguf("base")).kl > 0.05


def test_a_file_is_itself_and_its_quant_is_a_little_off(world, llama, tmp_path):
    text, source = tmp_path / "text.txt", world.gguf("base")
    text.write_text(" ".join(np.random.default_rng(1).choice(WORDS, 400)))
    said = llama.reference(source, text, tmp_path / "said", context=CONTEXT, chunks=6)
    itself = llama.divergence(source, said, context=CONTEXT)
    assert (itself.kl, itself.top1, itself.n) == (pytest.approx(0, abs=1e-4), 1, 6 * 31)
    assert itself.perplexity_ratio == pytest.approx(1, abs=1e-5)
    llama.quantize(source, tmp_path / "q8.gguf", "Q8_0")
    assert 1e-6 < llama.divergence(tmp_path / "q8.gguf", said, context=CONTEXT).kl < 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q8.gguf", "said", "text.txt"]


# What cannot be measured


def test_too_little_text_is_one_message_that_does_not_repeat_it(world, llama, tmp_path):
    (tmp_path / "text.txt").write_text("lonely town")
    with pytest.raises(UserError, match=r"text.txt: \d+ tokens\n.*at least 128") as error:
        llama.reference(world.gguf("base"), tmp_path / "text.txt", tmp_path / "said", context=CONTEXT, chunks=4)
    assert "lonely" not in str(error.value) and not (tmp_path / "said").exists()


def test_statistics_of_too_few_tokens_are_refused(world, llama, tmp_path):
    few = Logits(world.base.file, 2 * 31, world.base.vocab, world.base.targets[: 2 * 31])
    reference.write(few, world.pieces[:2], tmp_path / "few")
    with pytest.raises(UserError, match="a reference of 62 scored tokens"):
        llama.divergence(world.gguf("base"), tmp_path / "few", context=CONTEXT)


def test_a_truncated_gguf_is_one_message(world, llama, tmp_path):
    reference.write(world.base, world.pieces, tmp_path / "said")
    whole = world.gguf("base").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ToolError, match="llama-perplexity ended with status 1"):
        llama.divergence(tmp_path / "cut.gguf", tmp_path / "said", context=CONTEXT)


def test_a_cut_reference_and_one_of_another_vocabulary_give_no_numbers(world, llama, tmp_path):
    reference.write(world.base, world.pieces, tmp_path / "said")
    whole = (tmp_path / "said").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])  # as a full disk leaves it
    wide = np.pad(world.base.values, ((0, 0), (0, 1)))
    reference.write(written(tmp_path, wide, world.base.targets), world.pieces, tmp_path / "other")
    for name in ("cut", "other"):
        with pytest.raises(ToolError, match="llama-perplexity did not finish"):
            llama.divergence(world.gguf("base"), tmp_path / name, context=CONTEXT)


def test_a_vocabulary_without_tokens_of_the_text_is_refused(world, tmp_path):
    with pytest.raises(UserError, match="token 524 of the text in a vocabulary of 524"):
        reference.write(world.base, world.pieces, tmp_path / "said", 524)
