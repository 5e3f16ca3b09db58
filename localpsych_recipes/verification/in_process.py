"""What transformers says: the model as trained, the 16-bit base without and with the adapter, the merged model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localpsych_recipes import models
from localpsych_recipes.recipe import Base, Bound
from localpsych_recipes.verification import beside, divergence, logits, stops, template, tensors
from localpsych_recipes.verification.hops import Found, Hop, judged, said, tried
from localpsych_recipes.verification.proof import Proof
from localpsych_recipes.verification.release import digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRAINED, BASE = "the model as trained", "the 16-bit base"
ADAPTED, MERGED = "the 16-bit base with the adapter", "the merged model"
NO_ADAPTER = "there is no adapter to hold the weights against"
SAME_MODEL = "trained on the 16-bit base itself: it is the same model"


def adapter(proof: Proof) -> Iterator[Hop]:
    """The adapter's folder: hops adapter, as_trained, template."""
    release, folder = proof.release, proof.release.adapter
    if folder is None:
        return
    measured(proof, [BASE, ADAPTED], in_16_bit(release.base), release.base_folder, folder, _off_and_on)
    yield tried("adapter", "adapter", None, lambda: differs(proof))
    proof.forget(BASE)
    if release.base.quantization == "none":
        proof.left_out.append(("as_trained", SAME_MODEL))
    else:
        measured(proof, [TRAINED], release.base, release.base_folder, folder, _as_trained)
        yield tried("as_trained", "adapter", None, lambda: _apart(proof, TRAINED, ADAPTED, proof.knobs.as_trained))
        proof.forget(TRAINED)
    yield tried("template", "adapter", None, lambda: template.in_folder(folder, release.base_folder))


def merged(proof: Proof) -> Iterator[Hop]:
    """The merged folder: hops merged, template, stops. Its logits stay, for llama.cpp to be compared with."""
    release, folder = proof.release, proof.release.merged
    if folder is None:
        return
    measured(proof, [MERGED], in_16_bit(release.base), folder, None, _merged)
    if release.adapter:
        yield tried("merged", "merged", None, lambda: is_merged(proof))
    else:
        proof.left_out.append(("merged", NO_ADAPTER))
    proof.forget(ADAPTED)
    yield tried("template", "merged", None, lambda: template.in_folder(folder, release.base_folder))
    yield tried("stops", "merged", None, lambda: _stops(proof))


def measured(
    proof: Proof,
    names: Sequence[str],
    base: Base,
    folder: Path,
    adapter: Path | None,
    ask: Callable[[Proof, PreTrainedModel], None],
) -> None:
    """Loads a model, has `ask` leave its logits under `names`, and unloads it; where that fails, `Proof.of` says why."""
    model: Any = None
    try:
        model = models.load_base(base, folder)
        model = models.load_adapter(model, adapter) if adapter else model
        ask(proof, model.eval())
    except Exception as error:  # noqa: BLE001  whatever a damaged file makes its reader raise
        proof.failed |= dict.fromkeys(names, said(error))
    finally:
        del model
        models.forget()


def in_16_bit(base: Base) -> Base:
    """How the base is loaded as it is published and merged into."""
    return base.model_copy(update={"quantization": "none"})


def _as_trained(proof: Proof, model: PreTrainedModel) -> None:
    _write(proof, model, TRAINED)
    _ask(proof, model)


def _off_and_on(proof: Proof, model: PreTrainedModel) -> None:
    """The same weights in memory: the adapter off, then on. Trained in 16 bits, this is the model as trained."""
    with model.disable_adapter():
        _write(proof, model, BASE)
    _write(proof, model, ADAPTED)
    if proof.release.base.quantization == "none":
        _ask(proof, model)


def _merged(proof: Proof, model: PreTrainedModel) -> None:
    _write(proof, model, MERGED)
    prompts = proof.probes.prompts if proof.ended is None else proof.ended
    found = stops.ended(model, proof.renderer, prompts, proof.knobs.max_tokens)
    proof.merged_ended = len(found)
    if proof.ended is None:  # nobody can ask the model as trained: the GGUFs are held against this one
        proof.ended = found


def _write(proof: Proof, model: PreTrainedModel, name: str) -> None:
    file = proof.work / f"{name.replace(' ', '-')}.f32"
    proof.logits[name] = logits.of_model(model, proof.pieces, file, proof.say)


def _ask(proof: Proof, model: PreTrainedModel) -> None:
    """Which answers the model as trained ends."""
    ends = sorted({*stops.settled_ends(model), proof.renderer.end})
    proof.ended = stops.ended(model, proof.renderer, proof.probes.prompts, proof.knobs.max_tokens, ends)


def differs(proof: Proof) -> Found:
    """Is it the adapter that was trained, and does it change each module, and what the model says?"""
    release, folder = proof.release, proof.release.adapter
    if other := [name for name, trained in release.trained.items() if digest(folder / name) != trained]:
        return Found(wrong=f"{', '.join(other)}: not what training left")
    if wrong := beside.other_base(folder, release.base):
        return Found(wrong=wrong)
    change = tensors.Adapter(folder)
    modules, silent = len(change.parts), change.silent()
    if silent:
        return Found({"modules": modules}, wrong=f"{len(silent)} of {modules} modules add nothing: {silent[0]}")
    found = _apart(proof, BASE, ADAPTED, Bound(), modules=modules)
    apart, proof.learnt = found.measures["logit_max"], found.measures["kl"]
    same = "with it the model says what the base says" if apart == 0 else None
    return Found(found.measures, wrong=same if math.isfinite(apart) else "with it the model says no finite numbers")


def is_merged(proof: Proof) -> Found:
    """Each tensor and what lies beside them, then what the model says."""
    base, merged = proof.release.base_folder, proof.release.merged
    found = tensors.check(base, proof.release.adapter, merged)
    counts, wrong = {"adapted_tensors": found.adapted, "other_tensors": found.others}, found.wrong
    if wrong := wrong or beside.other_settings(merged, base) or beside.stray_weights(merged):
        return Found(counts, wrong=wrong)
    return _apart(proof, ADAPTED, MERGED, proof.knobs.merged, **counts)


def _stops(proof: Proof) -> Found:
    wrong = stops.in_folder(proof.release.merged, proof.release.base_folder, proof.renderer)
    proof.of(MERGED)
    return stops.judged(proof.merged_ended, len(proof.ended), proof.knobs.stopping, wrong)


def _apart(proof: Proof, one: str, other: str, bound: Bound, **more: int) -> Found:
    return judged(divergence.between(proof.of(one), proof.of(other)), bound, more)
