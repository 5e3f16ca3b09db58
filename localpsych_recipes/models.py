"""The only loader of tokenizers, base models and adapters, and of their quantisation."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localpsych_recipes import attention, chat_templates, families, machine, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Base, Lora, is_local

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def base_folder(base: Base, pins: dict[str, Any]) -> Path:
    """The base on this machine: the local folder, or the Hub snapshot at the pinned commit."""
    if is_local(base.model):
        return Path(base.model).expanduser()
    from localpsych_recipes import hub

    return hub.snapshot(base.model, pins["base"]["commit"])


def tokenizer_folder(base: Base, commit: str | None = None) -> Path:
    """Where the base's tokenizer and configuration are: enough to look at rows, without gigabytes of weights.

    commit: of a base on the Hub, before `base.revision`. UserError where one of the two is missing.
    """
    folder = Path(base.model).expanduser()
    if not is_local(base.model):
        from localpsych_recipes import hub

        folder = hub.files(base.model, commit or base.revision, ("config.json", *TOKENIZER_FILES))
    if missing := [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).is_file()]:
        expected = "a base with its configuration and its tokenizer"
        raise UserError(f"base.model: {base.model} holds no {' and no '.join(missing)}", expected, "check base.model")
    return folder


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The base's tokenizer as it is on disk, its chat template fit for training. UserError if it has none that is."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    # transformers 5 makes some classes anew from their vocabulary (Llama's among them) and forgets what tokenizer.json
    # does to the text behind a special token; llama.cpp and other servers do as the file says
    as_in_file = (folder / "tokenizer.json").is_file()
    kind = PreTrainedTokenizerFast if as_in_file else AutoTokenizer
    tokenizer = kind.from_pretrained(folder, trust_remote_code=False)  # left open it would ask, in the terminal
    if not tokenizer.chat_template:
        raise UserError(
            f"{folder.name}: a tokenizer without a chat template",
            "an instruction-tuned base whose tokenizer has one",
            "take the -it or -Instruct variant of the base",
        )
    chat_templates.fit(tokenizer, families.of(families.type_of(folder)).chat_template_kwargs)
    return tokenizer


def stop_at(folder: Path, end_of_turn: int) -> None:
    """Adds a token to those that a model's generation settings end at; Gemma 1's name <eos> alone, which no turn has."""
    file = folder / "generation_config.json"
    settings, config = rundir.read_json(file) or {}, rundir.read_json(folder / "config.json") or {}
    named = settings.get("eos_token_id", config.get("eos_token_id"))
    ends = named if isinstance(named, list) else [named]
    if end_of_turn not in ends:
        known = [end for end in ends if end is not None]
        rundir.write_json(file, {**settings, "eos_token_id": [*known, end_of_turn]})


def load_base(base: Base, folder: Path) -> PreTrainedModel:
    """The frozen base as it is trained on: whole (towers included), quantised as the recipe says; safetensors."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from localpsych_recipes.merging import shards

    for file in shards.weight_files(folder):
        shards.read_header(file)  # says which one is cut short, as loading it would not
    config = AutoConfig.from_pretrained(folder, trust_remote_code=base.trust_remote_code)
    implementation, _ = attention.choose(config, base.attn_implementation, dtype=base.dtype, **attention.here())
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, base.dtype),
        quantization_config=_quantization(base),
        # for the language model alone: Gemma 4's audio tower refuses SDPA, and no text runs through it
        attn_implementation={"text_config": implementation} if hasattr(config, "text_config") else implementation,
        device_map=_device_map(),
        use_safetensors=True,
        trust_remote_code=base.trust_remote_code,
    )
    model.config.use_cache = False
    # Some families (Gemma 4) say False here; Trainer would then average micro-batches, and a short answer's tokens
    # would weigh more than a long one's. TRL's loss divides by the accumulated batch's token count when told so.
    model.accepts_loss_kwargs = True
    _keep_gradients_on_cpu(model)
    return model


def new_adapter(model: PreTrainedModel, lora: Lora) -> PeftModel:
    """A fresh LoRA adapter on the modules that the recipe's targets resolve to."""
    from peft import get_peft_model

    from localpsych_recipes import lora as targets

    config = targets.config(lora, targets.resolve(model, lora.target_modules))
    return get_peft_model(model, config)


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """A trained adapter on its base, trainable and called "default", as DPO expects it."""
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, folder, is_trainable=True)
    # while it trains, PEFT looks the base up at every checkpoint: in the folder it was loaded from, not on the Hub
    adapted.peft_config["default"].base_model_name_or_path = model.name_or_path
    return adapted


def add_adapter(model: PreTrainedModel | PeftModel, folder: Path, name: str) -> PeftModel:
    """A trained adapter, frozen, beside those that the model has already; `set_adapter(name)` takes it."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return PeftModel.from_pretrained(model, folder, adapter_name=name)
    model.load_adapter(folder, name)
    return model


def forget() -> None:
    """Gives back the memory of models that nobody holds any more: the next one may be as large."""
    import torch

    gc.collect()  # PEFT's and transformers' models hold themselves
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _keep_gradients_on_cpu(model: PreTrainedModel) -> None:
    # On CPUs with AVX512-BF16 the first evaluation packs NF4 weights for inference, and bitsandbytes 0.50 leaves them
    # packed when training goes on: its packed product has no backward, so that the gradient through it is lost.
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _quantization(base: Base) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    if base.quantization == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=base.double_quant,
            bnb_4bit_compute_dtype=getattr(torch, base.dtype),
            # FSDP divides floating-point tensors alone; the bits are the same, whatever they are called
            bnb_4bit_quant_storage=getattr(torch, base.dtype) if machine.sharded() else None,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if base.quantization == "int8" else None


def _device_map() -> dict[str, Any] | None:
    """Each rank's model on its own GPU; quantised weights cannot be moved there later."""
    import torch

    return {"": machine.ranks().local_rank} if torch.cuda.is_available() else None


# what makes text into tokens, copied byte for byte: a tokenizer saved anew may say another eos or lose its template
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)


def settings_sha256(config: Path) -> str:
    """Of what an adapter's configuration says, but for the base's name, which `base.hub_id` may change later."""
    values = json.loads(config.read_text(encoding="utf-8"))
    return rundir.fingerprint({key: value for key, value in values.items() if key != "base_model_name_or_path"})


def copy_tokenizer(base: Path, folder: Path) -> None:
    """Copies the base's tokenizer files into an adapter's folder, unchanged."""
    for name in TOKENIZER_FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)
