"""Checks a recipe's `trainer:` mapping by name against the installed library, without importing it.

The fields of TRL's config classes are read from their source: `check` must answer in a second, importing TRL takes six.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

# recipe section -> (package, file, class) of each class whose fields it may set
CONFIG_CLASSES = {
    "Sft": (("trl", "trainer/sft_config.py", "SFTConfig"),),
    "Dpo": (("trl", "trainer/dpo_config.py", "DPOConfig"),),
}
SHARED_CLASSES = (
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("transformers", "training_args.py", "TrainingArguments"),
)
# set by the engine: where things lie, when they are saved, what is logged, what keeps text out of trackers
RESERVED = frozenset(
    "output_dir logging_dir save_strategy eval_strategy do_train do_eval do_predict resume_from_checkpoint push_to_hub "
    "hub_model_id hub_token hub_strategy hub_private_repo hub_always_push hub_revision seed data_seed run_name "
    "logging_nan_inf_filter save_only_model ignore_data_skip use_cpu restore_callback_states_from_checkpoint "
    "disable_tqdm sync_ref_model completion_only_loss assistant_only_loss "
    "gradient_checkpointing_kwargs metric_for_best_model greater_is_better "
    "log_completions model_init_kwargs bf16 fp16 packing padding_free ddp_find_unused_parameters".split()
)


def problems(section: str, given: Mapping[str, object], own: Mapping[str, object]) -> Iterator[str]:
    """Yields "trainer.KEY: what is wrong" for each key that the library's config does not know or the recipe owns."""
    for key in given:
        if key in own:
            yield f"trainer.{key}: is a key of the section itself; write it there"
        elif key in RESERVED:
            yield f"trainer.{key}: is set by the engine; drop it"
        elif section in CONFIG_CLASSES and key not in (known := field_names(section)):
            close = difflib.get_close_matches(key, known, 1)
            yield f"trainer.{key}: unknown to the installed TRL" + (f"; did you mean {close[0]}?" if close else "")


@cache
def field_names(section: str) -> frozenset[str]:
    """Names of the dataclass fields that TRL's config for this section accepts."""
    names: set[str] = set()
    for package, file, cls in (*CONFIG_CLASSES[section], *SHARED_CLASSES):
        names |= _class_fields(package, file, cls)
    return frozenset(names)


@cache
def optimizers() -> frozenset[str]:
    """The names of transformers' optimisers."""
    tree = _source("transformers", "training_args.py")
    values = [
        n.value
        for c in tree.body
        if getattr(c, "name", "") == "OptimizerNames"
        for n in c.body
        if isinstance(n, ast.Assign)
    ]
    return frozenset(value.value for value in values)


def _class_fields(package: str, file: str, cls: str) -> set[str]:
    for node in _source(package, file).body:
        if isinstance(node, ast.ClassDef) and node.name == cls:
            return {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    raise LookupError(f"{package}/{file} has no class {cls}")


def _source(package: str, file: str) -> ast.Module:
    folder = Path(importlib.util.find_spec(package).origin).parent
    return ast.parse((folder / file).read_text(encoding="utf-8"))
