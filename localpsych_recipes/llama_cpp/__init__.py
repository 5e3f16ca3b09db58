"""The one door to llama.cpp's own tools: find or build them, convert, quantise, serve, and check what came out.

find.py   where the tools are: LLAMA_CPP_HOME, the PATH, the user's cache, else a build
build.py  the pinned source fetched, checked and built into the user's cache, once
tools.py  what the tools do, one short call each
measure.py how far a model is from another, and importance matrices;  process.py a tool run to its end
serve.py  llama-server for as long as a `with` block lasts
quants.py the quants that llama-quantize knows, and which tensor types each may hold
contents.py what a GGUF holds;  reader.py the gguf package's reader, made quick
"""

from localpsych_recipes.llama_cpp.contents import lora, settings, tokenizer, vocabulary
from localpsych_recipes.llama_cpp.find import check_available, tools
from localpsych_recipes.llama_cpp.measure import EXACT, Divergence, append_loss
from localpsych_recipes.llama_cpp.process import ToolError
from localpsych_recipes.llama_cpp.quants import (
    QUANTS,
    bits_per_weight,
    expected_types,
    fallbacks,
    needs_imatrix,
    tensor_types,
)
from localpsych_recipes.llama_cpp.serve import Server
from localpsych_recipes.llama_cpp.tools import LlamaCpp

__all__ = [
    "EXACT",
    "QUANTS",
    "Divergence",
    "LlamaCpp",
    "Server",
    "ToolError",
    "append_loss",
    "bits_per_weight",
    "check_available",
    "expected_types",
    "fallbacks",
    "lora",
    "needs_imatrix",
    "settings",
    "tensor_types",
    "tokenizer",
    "tools",
    "vocabulary",
]
