"""What llama.cpp says: the 16-bit GGUF, each quant, and the adapter's GGUF on the base's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from localpsych_recipes import conversion, llama_cpp
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import slots
from localpsych_recipes.recipe.release import QUANTS
from localpsych_recipes.verification import carried, reference, stops, template
from localpsych_recipes.verification.hops import Found, Hop, judged, said, tried
from localpsych_recipes.verification.in_process import MERGED
from localpsych_recipes.verification.proof import Proof
from localpsych_recipes.verification.release import SIXTEEN_BIT, quant_of
from localpsych_recipes.verification.serving import Serving, serving

NO_MERGED = "there is no merged model to hold the weights against"


def sixteen_bit(proof: Proof) -> Iterator[Hop]:
    """What all quants are made of, on the very token ids that transformers was asked about: hop gguf."""
    if _comparable(proof):
        yield tried("gguf", "gguf", None, lambda: _sixteen_bit(proof))
    proof.forget(MERGED)


def files(proof: Proof) -> Iterator[Hop]:
    """Every published file: hops loads, template, stops, quant. Nothing else is tried on one that does not load."""
    if proof.release.ggufs and not proof.release.merged:
        proof.left_out.append(("quant", NO_MERGED))
    for gguf in proof.release.ggufs:
        yield from _file(proof, gguf)


def adapter(proof: Proof) -> Iterator[Hop]:
    """The adapter's GGUF on the base's, converted for this: hop adapter_gguf."""
    file = proof.release.adapter_gguf
    if file and not proof.release.merged:
        proof.left_out.append(("adapter_gguf", NO_MERGED))
    elif file:
        yield tried("adapter_gguf", "adapter", file.name, lambda: _adapter(proof, file))


def _file(proof: Proof, gguf: Path) -> Iterator[Hop]:
    hops = list(_served(proof, gguf))
    yield from hops
    if hops[0].passed and _comparable(proof):
        yield tried("quant", "gguf", gguf.name, lambda: _quant(proof, gguf))


def _comparable(proof: Proof) -> bool:
    """Whether there are GGUFs, and the merged model that they are made of."""
    return bool(proof.release.merged and (proof.release.ggufs or proof.release.adapter_gguf))


def _sixteen_bit(proof: Proof) -> Found:
    gguf, file = proof.sixteen_bit, proof.work / "merged.kld"
    reference.write(proof.of(MERGED), proof.pieces, file, llama_cpp.vocabulary(gguf))
    found = proof.tools.divergence(gguf, file, context=proof.knobs.context)
    file.unlink()
    return told_apart(proof, judged(found, proof.knobs.gguf))


def _quant(proof: Proof, gguf: Path) -> Found:
    quant = quant_of(gguf)
    if quant not in (*QUANTS, *SIXTEEN_BIT):
        return Found(wrong="its name ends in no quant that a bound is known of")
    if wrong := unlike(llama_cpp.settings(gguf), proof.settings) or unlike_its_name(gguf, quant):
        return Found(wrong=wrong)
    bound = proof.knobs.gguf if quant in SIXTEEN_BIT else proof.knobs.bound(quant)
    share = carried.share(gguf, proof.sixteen_bit, proof.lora) if proof.lora else None
    more = {"bytes": gguf.stat().st_size} | ({} if share is None else {"adapter_share": share})
    found = judged(_from_sixteen_bit(proof, gguf), bound, more)
    if share is None:
        return told_apart(proof, found)
    return found if carried.LEAST <= share <= carried.MOST else replace(found, wrong=found.wrong or _halved(share))


def unlike(keys: Mapping[str, str], of_16_bit: Mapping[str, str]) -> str | None:
    """The first key with another value: a few tokens show no other context length, window or sampling."""
    other = _other(keys, of_16_bit)
    return other and f"{other}: not the 16-bit GGUF's"


def unlike_its_name(gguf: Path, quant: str) -> str | None:
    """The first tensor of a type that the quant is not made of: one layer of fewer bits is lost in the mean."""
    name, kind = next(iter(llama_cpp.fallbacks(gguf, quant).items()), (None, None))
    return name and f"{name} is of type {kind}, which {quant} is not made of"


def _halved(share: float) -> str:
    return f"its weights hold {share:z.2f} of what the adapter adds to the base's"


def told_apart(proof: Proof, found: Found) -> Found:
    """With a note where the training moved the model by less than the bound allows a file to be off."""
    allowed = found.bound.get("kl")
    if allowed is None or proof.learnt is None or proof.learnt > allowed:
        return found
    note = f"this bound would let the base pass too: training moved it by a KL divergence of {proof.learnt:.2g} only"
    return replace(found, note=note)


def _adapter(proof: Proof, file: Path) -> Found:
    release, base = proof.release, proof.work / "base.gguf"
    if proof.lora and (other := _other(llama_cpp.lora(file), llama_cpp.lora(proof.lora))):
        return Found(wrong=f"{other}: not the adapter's")
    conversion.to_gguf(proof.tools, release.base_folder, base, name=release.name)
    found = _from_sixteen_bit(proof, base, file)
    base.unlink()
    return judged(found, proof.knobs.adapter_gguf, {"bytes": file.stat().st_size})


def _from_sixteen_bit(proof: Proof, gguf: Path, lora: Path | None = None) -> llama_cpp.Divergence:
    """From the 16-bit GGUF, over plain text, whose log-probabilities are written once."""
    knobs, file = proof.knobs, proof.work / "16bit.kld"
    if not file.exists():
        text = proof.work / "probes.txt"
        text.write_text(proof.probes.prose, encoding="utf-8")
        proof.tools.reference(proof.sixteen_bit, text, file, context=knobs.context, chunks=knobs.quant_chunks)
    found = proof.tools.divergence(gguf, file, context=knobs.context, lora=lora)
    proof.quant_scored = found.n
    return found


def _served(proof: Proof, gguf: Path) -> Iterator[Hop]:
    try:
        with serving(proof.tools, gguf, _context(proof)) as server:
            yield Hop("loads", "gguf", gguf.name, Found())
            yield tried("template", "gguf", gguf.name, lambda: _template(proof, gguf, server))
            yield tried("stops", "gguf", gguf.name, lambda: _stops(proof, server))
    except UserError as error:  # it has never come up
        yield Hop("loads", "gguf", gguf.name, Found(wrong=said(error)))


def _template(proof: Proof, gguf: Path, server: Serving) -> Found:
    if _comparable(proof) and (wrong := unlike(llama_cpp.tokenizer(gguf), proof.tokenizer)):
        return Found(wrong=wrong)
    return template.in_server(server, proof.renderer, proof.release.base_folder, proof.probes.prompts)


def _other(one: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    """The first name under which the two do not say the same."""
    return next((name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)), None)


def _stops(proof: Proof, server: Serving) -> Found:
    wrong, knobs, asked = stops.in_server(server, proof.renderer), proof.knobs, proof.ended or ()
    ended = stops.ended_by_server(server, proof.renderer, asked, knobs.max_tokens)
    return stops.judged(ended, len(asked), knobs.stopping, wrong)


def _context(proof: Proof) -> int:
    """Tokens that the longest prompt and its answer need."""
    needed = proof.renderer.longest(proof.probes.prompts) + proof.knobs.max_tokens
    return slots.context(needed, proof.release.base_folder)
