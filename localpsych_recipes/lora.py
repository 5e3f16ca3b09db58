"""Which modules get an adapter, which do not, and why; the answer as PEFT's configuration."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from localpsych_recipes import families
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Lora

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel

Modules = dict[str, nn.Module]
Selector = Callable[[str, nn.Module], object]
WORDS = ("attention", "mlp", "all")


@dataclass(frozen=True)
class LeftOut:
    """Modules that the targets name and that get no adapter, all for one reason."""

    reason: str
    count: int
    example: str  # full name of the first of them


@dataclass(frozen=True)
class Targets:
    """The modules that get an adapter, by full name in the model's order, and those that were left out.

    pattern: a regular expression that of all modules of this model matches exactly `modules` in full.
    """

    modules: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    pattern: str


def resolve(model: PreTrainedModel, targets: str | Sequence[str]) -> Targets:
    """Resolves a recipe's `lora.target_modules` on a model; meta, loaded and quantised models give the same names.

    targets: "attention", "mlp", "all" (every nn.Linear of the language model but its head), a list of these words, full
    names or ends of names, or a regular expression on full names, matched as PEFT does.
    Raises UserError where a list's entry or the expression matches nothing that can take an adapter.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    obstacles = _obstacles(model, modules)
    named: set[str] = set()
    for entry, selects in _selectors(targets, families.of(model.config.model_type)).items():
        found = [name for name, module in modules.items() if selects(name, module)]
        if all(obstacles[name] for name in found):
            raise _no_target(entry, found, obstacles)
        named.update(found)
    chosen = tuple(name for name in modules if name in named and not obstacles[name])
    left_out = [(reason, name) for name, reason in obstacles.items() if name in named and reason]
    return Targets(chosen, _grouped([*left_out, *_shared_kv(chosen, modules)]), _pattern(chosen, modules))


def config(lora: Lora, targets: Targets) -> LoraConfig:
    """PEFT's configuration of an adapter on exactly the resolved modules.

    The names go in as one expression: PEFT keeps a list as a set, whose order on disk differs from run to run, and
    shortens it to ends of names. Plain PEFT finds the same modules again on the same base.
    """
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        bias="none",
        target_modules=targets.pattern,
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
    )


def trainable_line(trainable: int, total: int) -> str:
    """Counts of parameters in the format of PEFT's print_trainable_parameters."""
    return f"trainable params: {trainable:,d} || all params: {total:,d} || trainable%: {100 * trainable / total:.4f}"


def _selectors(targets: str | Sequence[str], family: families.Family) -> dict[str, Selector]:
    """What each entry of the targets selects, adaptable or not."""
    if isinstance(targets, str) and targets not in WORDS:
        return {targets: lambda name, module: re.fullmatch(targets, name)}
    return {entry: _selector(entry, family) for entry in ([targets] if isinstance(targets, str) else targets)}


def _selector(entry: str, family: families.Family) -> Selector:
    if entry == "all":
        return lambda name, module: isinstance(module, nn.Linear)
    return _ends_in(getattr(family, entry) if entry in WORDS else (entry,))


def _ends_in(ends: tuple[str, ...]) -> Selector:
    return lambda name, module: f".{name}".endswith(tuple(f".{end}" for end in ends))


def _obstacles(model: PreTrainedModel, modules: Modules) -> dict[str, str | None]:
    """Why each module gets no adapter; None for the plain linear layers of the language model."""
    head, language = model.get_output_embeddings(), {id(module) for module in model.get_decoder().modules()}
    reasons = {name: [*_place(name, module is head, id(module) in language)] for name, module in modules.items()}
    for name, module in modules.items():
        around = type(modules.get(name.rpartition(".")[0])).__name__
        if around in families.WRAPPERS:
            reasons[name].append(f"inside a {around}, which it would bypass")
        elif not _is_linear(module):
            reasons[name].append(f"a {type(module).__name__}, which is no nn.Linear")
    return {name: "; ".join(found) or None for name, found in reasons.items()}


def _place(name: str, head: bool, language: bool) -> Iterable[str]:
    parts = name.split(".")
    tower = next((place for part, place in families.TOWERS.items() if part in parts), None)
    if tower:
        yield f"in {tower}, which text never runs through"
    elif head or parts[-1] in families.HEADS:
        yield "the output head: where it is tied, a merge would change the input embedding too"
    elif not language:
        yield "outside the language model"
    if set(parts).intersection(families.ROUTERS):
        yield "a router: an adapter would send tokens to other experts"
    if parts[-1] in families.WITHOUT_LORA_IN_LLAMA_CPP:
        yield "llama.cpp applies no adapter to it: as a GGUF the adapter would be another model"


def _is_linear(module: nn.Module) -> bool:
    """Plain or quantised by bitsandbytes. Other subclasses compute something else, and PEFT passes that by."""
    kind = type(module)
    return isinstance(module, nn.Linear) and (kind is nn.Linear or kind.__module__.startswith("bitsandbytes."))


def _shared_kv(chosen: Sequence[str], modules: Modules) -> Iterable[tuple[str, str]]:
    """The k_proj and v_proj that layers do without because they reuse an earlier layer's keys and values."""
    wanted = [end for end in ("k_proj", "v_proj") if any(name.endswith(f".{end}") for name in chosen)]
    for name in chosen:
        layer, _, last = name.rpartition(".")
        for end in wanted if last == "q_proj" else ():
            if f"{layer}.{end}" not in modules:
                yield "not there: the layer reuses the keys and values of an earlier one", f"{layer}.{end}"


def _grouped(left_out: Iterable[tuple[str, str]]) -> tuple[LeftOut, ...]:
    names: dict[str, list[str]] = {}
    for reason, name in left_out:
        names.setdefault(reason, []).append(name)
    return tuple(LeftOut(reason, len(group), group[0]) for reason, group in names.items())


def _pattern(chosen: Sequence[str], modules: Modules) -> str:
    r"""As in `model\.layers\.\d+\.self_attn\.(q_proj|k_proj)`: `\d+` only where every such module is chosen."""
    every = Counter(_shape(name) for name in modules)
    taken = Counter(_shape(name) for name in chosen)
    ends: dict[str, dict[str, None]] = {}  # start of names -> their last parts, in order, each once
    for name in chosen:
        start, _, end = re.escape(name).rpartition(r"\.")
        whole = every[_shape(name)] == taken[_shape(name)]
        ends.setdefault(_shape(start) if whole else start, {})[end] = None
    return "|".join(start + (r"\." if start else "") + _either(list(last)) for start, last in ends.items())


def _shape(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\\?\.|$)", r"\\d+", name)


def _either(options: list[str]) -> str:
    return options[0] if len(options) == 1 else f"({'|'.join(options)})"


def _no_target(entry: str, found: Sequence[str], obstacles: dict[str, str | None]) -> UserError:
    able = Counter(name.rpartition(".")[2] for name, reason in obstacles.items() if reason is None)
    groups = _grouped((obstacles[name] or "", name) for name in found)
    why = "; ".join(f"{group.example} and the like ({group.count}): {group.reason}" for group in groups)
    close = difflib.get_close_matches(entry.rpartition(".")[2], able, 1)
    return UserError(
        f"lora.target_modules: {entry!r} matches "
        + (f"nothing that can take an adapter: {why}" if found else "no module"),
        "linear layers of the language model; it has " + ", ".join(f"{end} ({count})" for end, count in able.items()),
        f"write [{close[0]}]" if close else "name some of these in a list, or write all",
    )
