"""What llama.cpp's tools do for a release, one short call each. Outputs are written beside their place and renamed."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp import measure
from localpsych_recipes.llama_cpp.process import finished, run
from localpsych_recipes.llama_cpp.quants import QUANTS
from localpsych_recipes.llama_cpp.serve import Server, serving


@dataclass(frozen=True)
class LlamaCpp:
    """The tools as they were found.

    paths:   each tool's name, such as "llama-imatrix", and its file.
    origin:  in words, where they were found.
    version: what `llama-server --version` says.
    """

    paths: dict[str, Path]
    origin: str
    version: str

    def convert(
        self, model: Path, out: Path, *, outtype: str, name: str, metadata: dict[str, Any] | None = None
    ) -> Path:
        """Writes the GGUF `out` of the Hub-format folder `model`, tokenizer and chat template included.

        outtype:  f32, f16, bf16, q8_0 or auto (16 bit, by the first tensor's own type).
        name:     general.name.
        metadata: what the model is, in the terms of a model card's header: license, license_name, license_link,
                  base_model, datasets, language, tags, ... It takes the place of the header of a README.md in `model`.
        """
        with _carded(model, name, metadata or {}) as folder, finished(out) as partial:
            script = self.paths["convert_hf_to_gguf.py"]
            _python(script, folder, "--outfile", partial, "--outtype", outtype, "--model-name", name)
        return out

    def convert_lora(
        self,
        base: Path,
        adapter: Path,
        out: Path,
        *,
        outtype: str,
        name: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Path:
        """Writes the PEFT folder `adapter` as a LoRA GGUF. Of `base` only the config and the tokenizer are read.

        outtype, name and metadata as in `convert`; the name is the adapter's folder name unless given.
        """
        name = name or adapter.resolve().name
        with _carded(adapter, name, metadata or {}) as folder, finished(out) as partial:
            script = self.paths["convert_lora_to_gguf.py"]
            _python(script, folder, "--base", base, "--outfile", partial, "--outtype", outtype)
        return out

    def quantize(self, source: Path, out: Path, quant: str, *, imatrix: Path | None = None) -> list[str]:
        """Writes `source` (16 or 32 bit) as `quant`; the tool's warnings of fallbacks to other types come back.

        quant: one of QUANTS. imatrix: an importance matrix of llama-imatrix, required by the quants below 2.5 bit.
        Not every fallback is warned of: `fallbacks` reads the file itself.
        """
        if quant not in QUANTS:
            raise UserError(f"quant {quant}", f"one of {', '.join(QUANTS)}", "choose one of these")
        # the tool writes the matrix's path as it is given into the file that will be published: give the bare name
        matrix = ["--imatrix", imatrix.name] if imatrix else []
        with finished(out) as partial:
            files = [source.absolute(), partial.absolute()]
            text = run([self.paths["llama-quantize"], *matrix, *files, quant], cwd=imatrix.parent if imatrix else None)
        return re.findall(r"^.*falling back to.*$", text, re.MULTILINE)

    def serve(
        self,
        gguf: Path,
        *,
        lora: Path | None = None,
        ctx: int = 4096,
        slots: int = 1,
        api_key: str | None = None,
        extra: Sequence[str] = (),
        log: Path | None = None,
    ) -> AbstractContextManager[Server]:
        """A llama-server on a free loopback port for as long as the `with` block lasts; ready when the block begins.

        ctx: tokens for each slot; slots: requests answered at once; extra: further arguments; log: where the server's
        output goes (else to a temporary file). Raises UserError if it ends or is not ready in ten minutes.
        """
        arguments = ["--model", str(gguf), "--ctx-size", str(ctx * slots), "--parallel", str(slots)]
        arguments += ["--lora", str(lora)] if lora else []
        return serving(self.paths["llama-server"], [*arguments, *extra], api_key=api_key, log=log)

    def reference(self, gguf: Path, text: Path, out: Path, *, context: int, chunks: int) -> Path:
        """Writes what the model says of each next token of a text, for `divergence` to compare others with.

        context: tokens of one piece, whose second half is scored; chunks: pieces at most. 2 x vocabulary + 8 bytes for
        each scored token. The text is read without special tokens. UserError for fewer than two pieces of text.
        """
        knobs = {"context": context, "chunks": chunks, "gpu": self.has_gpu()}
        measure.reference(self.paths["llama-perplexity"], gguf, text, out, **knobs)
        return out

    def divergence(self, gguf: Path, reference: Path, *, context: int, lora: Path | None = None) -> measure.Divergence:
        """How far a model is from the one that `reference` is of, over the tokens in it.

        reference: of this class or of verification.reference; context: its own; lora: an adapter on the model.
        Fewer than 100 scored tokens are a UserError; ToolError for a damaged model or another vocabulary.
        """
        knobs = {"context": context, "lora": lora, "gpu": self.has_gpu()}
        return measure.divergence(self.paths["llama-perplexity"], gguf, reference, **knobs)

    def imatrix(self, gguf: Path, text: Path, out: Path, *, context: int) -> int:
        """Writes the importance matrix of a text, special tokens parsed; gives the tokens it is made of.

        The bare name of `text` will stand in every quant that is made with it. UserError for fewer than 2 x context
        tokens.
        """
        return measure.imatrix(self.paths["llama-imatrix"], gguf, text, out, context=context, gpu=self.has_gpu())

    def has_gpu(self) -> bool:
        """Whether this llama-server knows a device besides the CPU."""
        listed = run([self.paths["llama-server"], "--list-devices"]).partition("Available devices:")[2]
        return bool(re.search(r"^\s+\w+\d*: ", listed, re.MULTILINE))


def _python(script: Path, *arguments: str | Path) -> None:
    """Runs a converter with this interpreter, the gguf package beside the script, and no network."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    env.pop("NO_LOCAL_GGUF", None)
    run([sys.executable, script.resolve(), *arguments], env=env)  # a link on the PATH has no gguf package beside it


@contextmanager
def _carded(model: Path, name: str, metadata: dict[str, Any]) -> Iterator[Path]:
    """The model's files by link in a folder with its own README.md, whose header is `metadata`.

    The converter takes the licence from that header alone (its --metadata has no key for it), and names it has not
    been given from the folder's name; both are the same here wherever the model lies.
    """
    if not model.is_dir():
        raise UserError(f"{model}, which is no folder", "a folder as from_pretrained reads it", "check the path")
    with tempfile.TemporaryDirectory(prefix="localpsych-") as root:
        folder = Path(root) / re.sub(r"[^\w.-]+", "-", name)
        folder.mkdir()
        for file in model.resolve().iterdir():
            if file.name != "README.md":
                (folder / file.name).symlink_to(file)
        header = json.dumps({"name": name, **metadata}, ensure_ascii=False)  # JSON is YAML
        (folder / "README.md").write_text(f"---\n{header}\n---\n", encoding="utf-8")
        yield folder
