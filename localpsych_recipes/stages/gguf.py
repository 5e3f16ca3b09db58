"""llama.cpp's files: one conversion of the merged model in its own dtype, then each quant, and the adapter as LoRA."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from localpsych_recipes import conversion, llama_cpp, models, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import Run


def run(run: Run) -> dict[str, Any]:
    """Results: files with quant, bytes, sha256 and tensor types. UserError for a quant made of other types."""
    tools = llama_cpp.tools(run.say)
    merged, knobs = run.dir.release("merged"), run.recipe.gguf
    source = run.dir.sixteen_bit_gguf
    source.parent.mkdir(parents=True, exist_ok=True)
    outtype = conversion.to_gguf(tools, merged, source, name=run.recipe.name, metadata=metadata(run))
    run.say(f"      converted in {outtype}")
    with rundir.replacing(run.dir.release("gguf")) as folder:
        files = [quantize(run, tools, source, folder, quant) for quant in knobs.quants]
        if knobs.sixteen_bit:
            files.append(keep_sixteen_bit(run, source, folder, outtype))
    if knobs.adapter:
        files.append(convert_adapter(run, tools))
    return {"files": files, "llama_cpp": tools.version}


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


def quantize(run: Run, tools: llama_cpp.LlamaCpp, source: Path, folder: Path, quant: str) -> dict[str, Any]:
    target = folder / file_name(run, quant)
    tools.quantize(source, target, quant)
    if wrong := llama_cpp.fallbacks(target, quant):
        raise UserError(
            f"{quant}: llama-quantize wrote {len(wrong)} tensors in other types, {next(iter(wrong))} among them",
            f"the types that {quant} is made of; widths that are no multiple of 256 make it fall back",
            f"take {quant} out of gguf.quants, or use Q8_0",
        )
    run.say(f"      {quant} made")
    return described(target, quant)


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


def described(path: Path, quant: str) -> dict[str, Any]:
    return {"file": path.name, "quant": quant, "bytes": path.stat().st_size, "sha256": rundir.file_sha256(path)}
