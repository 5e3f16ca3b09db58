"""What a hop says of itself: numbers against bounds, and failures without texts and paths."""

from __future__ import annotations

import errno
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Bound
from localpsych_recipes.verification import hops, in_llama_cpp
from localpsych_recipes.verification.divergence import Divergence
from localpsych_recipes.verification.hops import Found, tried

NEAR = {"kl": 0.01, "kl_999": 0.2, "kl_max": 0.3, "top1": 0.97, "perplexity_ratio": 1.01}


def divergence(**other: float) -> Divergence:
    return Divergence(n=1000, loss_from=2.0, loss_to=2.01, **(NEAR | other))


def test_a_measure_at_its_bound_is_inside_and_each_one_beyond_is_named() -> None:
    bound = Bound(kl=0.01, kl_999=0.2, top1=0.97, perplexity_ratio=1.01)
    assert hops.judged(divergence(), bound).wrong is None
    for name, beyond in {"kl": 0.02, "kl_999": 0.21, "top1": 0.96, "perplexity_ratio": 1.02}.items():
        assert hops.judged(divergence(**{name: beyond}), bound).wrong.startswith(hops.WORDS[name])
        assert hops.judged(divergence(**{name: beyond}), bound.model_copy(update={name: None})).wrong is None


def test_what_is_no_number_is_outside_of_every_bound() -> None:
    assert hops.judged(divergence(kl=math.nan), Bound(kl=1.0)).wrong
    assert hops.judged(divergence(top1=math.nan), Bound(top1=0.0)).wrong
    # of logits that are no numbers the likeliest token is the same in any model: the first
    assert hops.judged(divergence(kl=math.nan, top1=1.0), Bound(top1=0.9)).wrong == "not every number is finite"


@pytest.mark.parametrize(("learnt", "told"), [(0.05, False), (0.15, False), (0.1501, True), (None, True)])
def test_a_bound_that_the_base_itself_would_keep_is_said_to_be_one(learnt: float | None, told: bool) -> None:
    proof = SimpleNamespace(learnt=learnt)
    found = in_llama_cpp.told_apart(proof, hops.judged(divergence(), Bound(kl=0.15)))
    assert found.wrong is None and (found.note is None) == told
    assert in_llama_cpp.told_apart(proof, hops.judged(divergence(), Bound(top1=0.9))).note is None


def failing(error: Exception) -> Found:
    raise error


def test_what_cannot_be_measured_is_not_proven_and_says_why_without_texts_and_paths() -> None:
    private = ValueError("I have not told anyone this")
    assert (
        tried("quant", "gguf", "a.gguf", lambda: failing(private)).row()["why"] == "could not be measured: ValueError"
    )
    error = UserError(
        "llama-server ended: \n  main: loading\n  error: cannot read /home/alice/run/a.gguf\n  bye", "", ""
    )
    why = tried("loads", "gguf", "a.gguf", lambda: failing(error)).row()["why"]
    assert why == "could not be measured: error: cannot read a.gguf"


def test_of_what_llama_cpp_says_of_a_truncated_file_the_cause_is_told_before_what_it_led_to() -> None:
    """Its own lines, of a Q8_0 cut in half."""
    lines = (
        "llama-server ended with status 1: ",
        "0.00.012.947 E llama_model_load_from_file_impl: failed to load model",
        "0.00.013.578 E llama_model_load: error loading model: tensor 'a.weight' data is not within the file bounds",
    )
    why = hops.said(UserError("\n    ".join(lines), "", ""))
    assert why == "llama_model_load: error loading model: tensor 'a.weight' data is not within the file bounds"


def test_a_file_that_is_gone_is_named_without_the_folder_it_lay_in() -> None:
    why = tried("adapter_gguf", "adapter", "a.gguf", Path("/nowhere/at/all/a.gguf").stat).row()["why"]
    assert why == "could not be measured: a.gguf: No such file or directory"


def test_a_full_disk_is_no_finding_about_a_file() -> None:
    with pytest.raises(OSError, match="No space"):
        tried("quant", "gguf", "a.gguf", lambda: failing(OSError(errno.ENOSPC, "No space left on device")))
