"""A model's exact structure without its weights: built from the configuration alone, on the meta device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from localpsych_recipes.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def read_config(folder: Path | str) -> PreTrainedConfig:
    """The configuration in a local folder. No code of the base's repository is run. UserError if it cannot be read."""
    from transformers import AutoConfig

    folder = Path(folder).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json", "a model's folder or Hub id", "check base.model")
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as error:
        raise _unknown(str(folder), error) from None


def meta_model(config: PreTrainedConfig | Path | str) -> PreTrainedModel:
    """The causal language model that `config` (or the config.json in a folder) describes, towers included.

    Its parameters have shapes and take no memory: 8e9 of them are there in less than a second.
    UserError for an architecture that the installed transformers does not have.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if isinstance(config, Path | str):
        config = read_config(config)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except ValueError as error:
        raise _unknown(config.model_type, error) from None


def _unknown(given: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0][:200]
    return UserError(
        f"{given}: {reason}",
        "a text-generating architecture that the installed transformers has in its own code",
        "check base.model; upgrade transformers if the model is newer",
    )
