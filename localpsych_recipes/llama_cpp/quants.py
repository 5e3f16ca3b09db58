"""The quants that llama-quantize knows, and which tensor types each of them may hold.

llama-quantize changes a tensor's type when its width is no multiple of the type's block (256 for most): with a warning,
or for the embeddings and the output without one. The file is then another quant than its name says.
"""

from __future__ import annotations

from pathlib import Path

# The names that `llama-quantize --help` lists, without its aliases, COPY and Q2_0 (gguf 0.19 cannot read that type);
# for each, the types that its mixture may choose. Read in src/llama-quant.cpp: llama_ftype_get_default_type and
# llama_tensor_get_type_impl, without its special cases for 70B models and mixtures of exactly eight experts. What a
# fallback leads to (tensor_type_fallback: IQ4_NL, Q4_0, Q5_0, Q5_1, Q8_0, F16) is never among the types of a quant
# that could fall back to it.
TYPES: dict[str, frozenset[str]] = {
    quant: frozenset(types.split())
    for quant, types in {
        "Q1_0": "Q1_0 Q6_K",
        "Q4_0": "Q4_0 Q4_1 Q6_K",
        "Q4_1": "Q4_1 Q6_K",
        "MXFP4_MOE": "MXFP4 Q8_0",
        "Q5_0": "Q5_0 Q5_1 Q6_K",
        "Q5_1": "Q5_1 Q6_K",
        "IQ2_XXS": "IQ2_XXS Q2_K Q4_K Q5_K",
        "IQ2_XS": "IQ2_XS Q2_K Q4_K Q5_K",
        "IQ2_S": "IQ2_XS IQ3_S Q4_K Q5_K",
        "IQ2_M": "IQ2_S IQ3_S Q4_K Q5_K",
        "IQ1_S": "IQ1_S IQ2_XXS Q2_K Q4_K Q5_K",
        "IQ1_M": "IQ1_M IQ2_XXS Q2_K Q4_K Q5_K",
        "TQ1_0": "TQ1_0 Q4_K Q6_K",
        "TQ2_0": "TQ2_0 Q4_K Q6_K",
        "Q2_K": "Q2_K Q3_K Q4_K Q6_K",
        "Q2_K_S": "Q2_K Q4_K Q6_K",
        "IQ3_XXS": "IQ3_XXS IQ3_S IQ2_S Q3_K Q4_K Q5_K",
        "IQ3_S": "IQ3_S Q4_K Q6_K",
        "IQ3_M": "IQ3_S Q4_K Q6_K",
        "IQ3_XS": "IQ3_S IQ3_XXS Q4_K Q6_K",
        "Q3_K_S": "Q3_K Q6_K",
        "Q3_K_M": "Q3_K Q4_K Q5_K Q6_K",
        "Q3_K_L": "Q3_K Q5_K Q6_K",
        "IQ4_NL": "IQ4_NL Q5_K Q6_K",
        "IQ4_XS": "IQ4_XS Q5_K Q6_K",
        "Q4_K_S": "Q4_K Q5_K Q6_K",
        "Q4_K_M": "Q4_K Q6_K",
        "Q5_K_S": "Q5_K Q6_K",
        "Q5_K_M": "Q5_K Q6_K",
        "Q6_K": "Q6_K",
        "Q8_0": "Q8_0",
        "F16": "F16",
        "BF16": "BF16",
        "F32": "F32",
    }.items()
}
QUANTS: tuple[str, ...] = tuple(TYPES)

# Weights of two dimensions that stay as they are in every quant (tensor_allows_quantization, for the text models of
# Llama, Qwen, Gemma and Phi): norms, the router of experts, Gemma's small projections of the per-layer embeddings.
UNQUANTIZED = ("_norm.weight", "ffn_gate_inp.weight", "altup", "laurel", "per_layer_model_proj")


# tensor_requires_imatrix: llama-quantize refuses to write weights of these without one
NEED_IMATRIX = frozenset({"IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S"})


def needs_imatrix(quant: str) -> bool:
    """Whether llama-quantize makes it with an importance matrix only."""
    return quant == "Q2_K_S" or bool(TYPES[quant] & NEED_IMATRIX)


def expected_types(quant: str) -> frozenset[str]:
    """The types, as the gguf package names them, that the weights of a `quant` may have."""
    return TYPES[quant]


def tensor_types(gguf: Path) -> dict[str, str]:
    """Each tensor's name and type ("Q4_K", "F32", ...). Only the file's header is read."""
    return {name: kind for name, kind, _ in _tensors(gguf)}


def fallbacks(gguf: Path, quant: str) -> dict[str, str]:
    """The tensors, with their types, that a true `quant` does not hold; empty if the file is what its name says."""
    allowed = expected_types(quant)
    return {
        name: kind for name, kind, dimensions in _tensors(gguf)
        if kind not in allowed and dimensions > 1 and name.endswith("weight")
        and not any(part in name for part in UNQUANTIZED)
    }  # fmt: skip


def bits_per_weight(gguf: Path) -> float:
    """Bits of all tensors through their elements, as llama.cpp counts them; names and vocabulary are left out."""
    from localpsych_recipes.llama_cpp.reader import Reader

    tensors = Reader(gguf).tensors
    return 8 * sum(int(tensor.n_bytes) for tensor in tensors) / sum(int(tensor.n_elements) for tensor in tensors)


def _tensors(path: Path) -> list[tuple[str, str, int]]:
    from localpsych_recipes.llama_cpp.reader import Reader  # brings numpy

    return [(tensor.name, tensor.tensor_type.name, len(tensor.shape)) for tensor in Reader(path).tensors]
