"""What transformers calls a tensor in the model, and what the base calls it on disk.

Gemma 3 says `language_model.model.layers...` on disk and `model.language_model.layers...` in the model, and an adapter
says what the model says. The answer is transformers' own: every name on disk goes through the renamings of its loader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from localpsych_recipes.errors import UserError


@dataclass(frozen=True)
class Names:
    """on_disk: name in the model -> name on disk. converted: names in the model whose tensors the loader computes
    (stacked experts, split projections) instead of renaming. tied: name in the model -> the name whose tensor it
    shares.
    """

    on_disk: Mapping[str, str]
    converted: frozenset[str]
    tied: Mapping[str, str]


def names_of(base: Path, stored: Iterable[str]) -> Names:
    """The names of the tensors `stored` on disk, from the base's config.json alone (no weight is read).

    Raises UserError if transformers does not know the base's class.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key

    model = _empty_model(base)
    in_model, prefix = model.state_dict(), model.base_model_prefix
    transforms = get_model_conversion_mapping(model)
    renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
    converters = [transform for transform in transforms if isinstance(transform, WeightConverter)]
    on_disk, converted = {}, set()
    for name in sorted(stored, key=dot_natural_key):  # the loader's order: some renamings depend on it
        renamed, pattern = _rename(name, renamings, converters, prefix, in_model)
        if pattern is None:
            on_disk[renamed] = name
        else:
            converted |= _targets(renamed, next(c for c in converters if pattern in c.source_patterns))
    return Names(on_disk, frozenset(converted), dict(model.all_tied_weights_keys))


def _empty_model(base: Path) -> Any:
    """The base's class, as its config names it, on the meta device."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(base, trust_remote_code=False)
    name = (config.architectures or ["no class"])[0]
    if not hasattr(transformers, name):
        raise UserError(
            f"{base / 'config.json'} names the architecture {name}",
            f"a model class of transformers {transformers.__version__}",
            "merge with the code that the base brings along, or choose a base that transformers itself supports",
        )
    with torch.device("meta"):
        return getattr(transformers, name)(config)


def _rename(
    name: str, renamings: list[Any], converters: list[Any], prefix: str, in_model: Mapping[str, torch.Tensor]
) -> tuple[str, str | None]:
    """One name on disk as the loader renames it (convert_and_load_state_dict_in_model, step 1), and the pattern of the
    converter that takes it, if one does."""
    from transformers.core_model_loading import rename_source_key

    renamed, pattern = rename_source_key(name, renamings, converters, prefix, in_model)
    if renamed not in in_model and name in in_model:
        renamed, pattern = rename_source_key(name, [], [], prefix, in_model)
    return renamed, pattern


def _targets(renamed: str, converter: Any) -> set[str]:
    """Every name in the model that a conversion fills; the loader's renaming gives only the first."""
    first, *_ = converter.target_patterns
    return {renamed.replace(first, target) for target in converter.target_patterns}
