"""llama.cpp's files: one conversion of the merged model in its own dtype, then each quant, and the adapter as LoRA."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from localpsych_recipes import conversion, families, importance, llama_cpp, models, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run


def run(run: Run) -> dict[str, Any]:
    """Results: files with quant, bytes, sha256 and whether an importance matrix helped; what that was made of.

    UserError for a quant made of other types, or one that needs a matrix that cannot be made.
    """
    tools = llama_cpp.tools(run.say)
    merged, knobs = run.left_by("merge", run.dir.release("merged")), run.recipe.gguf
    source = run.dir.sixteen_bit_gguf
    source.parent.mkdir(parents=True, exist_ok=True)
    text = training_text(run)  # before the minutes that converting takes
    outtype = conversion.to_gguf(tools, merged, source, name=run.recipe.name, metadata=metadata(run))
    run.say(f"      converted in {outtype}")
    matrix, made_of = importance_matrix(run, tools, source, text)
    with rundir.replacing(run.dir.release("gguf")) as folder:
        helped = made_of["quants"] if made_of else ()
        files = [
            quantize(run, tools, source, folder, quant, matrix if quant in helped else None) for quant in knobs.quants
        ]
        if knobs.sixteen_bit:
            files.append(keep_sixteen_bit(run, source, folder, outtype))
    if knobs.adapter:
        files.append(convert_adapter(run, tools))
    return {"files": files, "imatrix": made_of, "llama_cpp": tools.version}


def file_name(run: Run, quant: str) -> str:
    """`ollama run hf.co/USER/REPO:QUANT` and llama.cpp find a file by the quant at the end of its name."""
    return f"{run.recipe.name}-{quant}.gguf"


def metadata(run: Run) -> dict[str, Any]:
    """What the GGUF says of itself, in the terms of a model card's header: licence, base model, dataset."""
    base = run.pins["base"]
    values = {
        "license": run.recipe.license or base.get("license"),
        "license_name": base.get("license_name"),
        "license_link": base.get("license_link"),
        "base_model": run.recipe.base_id,
        "datasets": [pin["id"] for pin in run.pins["datasets"] if pin.get("id")],
    }
    return {key: value for key, value in values.items() if value}


def training_text(run: Run) -> importance.Text:
    """Conversations of the training split, and none of the held-out one, that the files are measured on later.

    Nothing where no quant wants a matrix. UserError where it is too little and a quant needs one.
    """
    text, merged, kind = importance.NOTHING, run.dir.release("merged"), "sft" if run.recipe.sft else "pairs"
    if importance.wanted(run.recipe.gguf.quants, run.recipe.gguf.imatrix):
        arguments = families.of(families.type_of(merged)).chat_template_kwargs
        rows = importance.draw(run.rows_of(kind), kind, run.recipe.seed)
        text = importance.text(rows, models.load_tokenizer(merged), arguments)
    if not text.context:
        refuse_without_matrix(run, text)
    return text


def refuse_without_matrix(run: Run, text: importance.Text) -> None:
    """UserError for a quant that llama-quantize makes with a matrix alone."""
    for quant in filter(llama_cpp.needs_imatrix, run.recipe.gguf.quants):
        off = run.recipe.gguf.imatrix == "none"
        raise UserError(
            f"{quant} with imatrix: none" if off else f"{quant} and {text.tokens} tokens of training conversations",
            f"an importance matrix, of at least {2 * min(importance.CONTEXTS)} tokens",
            f"set gguf.imatrix: auto, or take {quant} out of gguf.quants",
        )


def importance_matrix(
    run: Run, tools: llama_cpp.LlamaCpp, source: Path, text: importance.Text
) -> tuple[Path | None, dict[str, Any] | None]:
    """The matrix, and what the report says of it: its text and the quants it is for, none where the text is too short."""
    quants = importance.wanted(run.recipe.gguf.quants, run.recipe.gguf.imatrix)
    if not quants:
        return None, None
    matrix = importance.make(tools, source, text, source.with_name("imatrix.gguf"))
    what = "an importance matrix" if matrix else "too few for an importance matrix"
    run.say(f"      {text.tokens:,} tokens of {text.conversations:,} training conversations: {what}")
    helped = quants if matrix else []
    return matrix, {"tokens": text.tokens, "conversations": text.conversations, "quants": helped}


def quantize(
    run: Run, tools: llama_cpp.LlamaCpp, source: Path, folder: Path, quant: str, imatrix: Path | None
) -> dict[str, Any]:
    target = folder / file_name(run, quant)
    tools.quantize(source, target, quant, imatrix=imatrix)
    if wrong := llama_cpp.fallbacks(target, quant):
        raise UserError(
            f"{quant}: llama-quantize wrote {len(wrong)} tensors in other types, {next(iter(wrong))} among them",
            f"the types that {quant} is made of; widths that are no multiple of 256 make it fall back",
            f"take {quant} out of gguf.quants, or use Q8_0",
        )
    run.say(f"      {quant} made{' with the importance matrix' if imatrix else ''}")
    return described(target, quant, imatrix is not None)


def keep_sixteen_bit(run: Run, source: Path, folder: Path, outtype: str) -> dict[str, Any]:
    target = folder / file_name(run, outtype.upper())
    shutil.copyfile(source, target)
    return described(target, outtype.upper())


def convert_adapter(run: Run, tools: llama_cpp.LlamaCpp) -> dict[str, Any]:
    target = run.dir.adapter_gguf
    base = models.base_folder(run.recipe.base, run.pins)
    tools.convert_lora(
        base, run.final_adapter, target, outtype="f16", name=f"{run.recipe.name}-LoRA", metadata=metadata(run)
    )
    return described(target, "LoRA F16")


def described(path: Path, quant: str, imatrix: bool = False) -> dict[str, Any]:
    size, sha256, bits = path.stat().st_size, rundir.file_sha256(path), round(llama_cpp.bits_per_weight(path), 2)
    found = {"file": path.name, "quant": quant, "bytes": size, "sha256": sha256}
    return found | {"bits_per_weight": bits, "imatrix": imatrix}
