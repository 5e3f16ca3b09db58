"""Which modules get an adapter, at the true scale of the real bases and on tiny models that are trained for real."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
import torch
from peft import PeftModel, get_peft_model
from torch import nn

from localpsych_recipes import lora, skeleton
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import Lora

# By hand from the published structure: layers x projections of one layer. Attention is q, k, v and o; the MLP gate, up
# and down. Phi-3 fuses q, k, v into one projection and gate, up into one.
ATTENTION, MLP = 4, 3
COUNTS = {  # architecture: (attention, all)
    "Qwen--Qwen2.5-3B-Instruct": (36 * ATTENTION, 36 * (ATTENTION + MLP)),
    "Qwen--Qwen3-0.6B": (28 * ATTENTION, 28 * (ATTENTION + MLP)),
    "TinyLlama--TinyLlama-1.1B-Chat-v1.0": (22 * ATTENTION, 22 * (ATTENTION + MLP)),
    "deepseek-ai--DeepSeek-R1-Distill-Qwen-1.5B": (28 * ATTENTION, 28 * (ATTENTION + MLP)),
    "google--gemma-2b-it": (18 * ATTENTION, 18 * (ATTENTION + MLP)),
    "google--gemma-2-2b-it": (26 * ATTENTION, 26 * (ATTENTION + MLP)),
    "google--gemma-3-4b-it": (34 * ATTENTION, 34 * (ATTENTION + MLP)),
    "meta-llama--Llama-3.2-3B-Instruct": (28 * ATTENTION, 28 * (ATTENTION + MLP)),
    "microsoft--Phi-3-mini-4k-instruct": (32 * (1 + 1), 32 * (1 + 1) + 32 * (1 + 1)),
    # The last 18 of 42 (20 of 35) layers reuse keys and values. `all` adds the MLP, the gate and the projection of each
    # layer's own embedding; to the one projection that makes these embeddings llama.cpp applies no adapter.
    "google--gemma-4-E4B-it": (42 + 42 + 24 + 24, (42 + 42 + 24 + 24) + 42 * MLP + 42 * 2),
    "google--gemma-4-E2B-it": (35 + 35 + 15 + 15, (35 + 35 + 15 + 15) + 35 * MLP + 35 * 2),
}
NOT_THE_LANGUAGE_MODEL = ("vision", "audio", "router", "lm_head", "embed_", "projector", ".linear")


@pytest.fixture(scope="module")
def meta(shared: Path):
    """Fresh meta models of the real architectures, whose configurations are read once."""
    configs = {name: skeleton.read_config(shared / "architectures" / name) for name in COUNTS}
    return lambda name: skeleton.meta_model(configs[name])


def injected(model: nn.Module) -> list[str]:
    """Full names, in the base, of the modules that PEFT put an adapter on."""
    return [name.removeprefix("base_model.model.") for name, m in model.named_modules() if hasattr(m, "lora_A")]


def test_every_real_architecture_is_counted_by_hand(shared):
    assert {folder.name for folder in (shared / "architectures").iterdir() if folder.is_dir()} == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("targets", ["attention", "all"])
def test_targets_inject_into_the_real_architecture_exactly_as_counted(meta, name, targets):
    model = meta(name)
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    resolved = lora.resolve(model, targets)
    peft = get_peft_model(model, lora.config(Lora(), resolved))
    assert injected(peft) == list(resolved.modules)
    assert len(resolved.modules) == COUNTS[name][targets == "all"]
    assert linears.issuperset(resolved.modules)
    assert not [m for m in resolved.modules if any(part in m for part in NOT_THE_LANGUAGE_MODEL)]


def test_gemma4_e4b_has_the_published_number_of_trainable_parameters(meta):
    model = meta("google--gemma-4-E4B-it")
    peft = get_peft_model(model, lora.config(Lora(r=16), lora.resolve(model, "attention")))
    line = "trainable params: 9,076,736 || all params: 7,950,177,568 || trainable%: 0.1142"
    assert lora.trainable_line(*peft.get_nb_trainable_parameters()) == line


def test_every_linear_layer_of_gemma4_e4b_is_adapted_or_left_out_with_a_reason(meta):
    resolved = lora.resolve(meta("google--gemma-4-E4B-it"), "all")
    absent = [group for group in resolved.left_out if group.reason.startswith("not there")]
    assert [group.count for group in absent] == [18 * 2]
    # 593 nn.Linear in the whole model, as the list of architectures says
    assert len(resolved.modules) + sum(g.count for g in resolved.left_out) - 18 * 2 == 593
    reasons = " ".join(group.reason for group in resolved.left_out)
    for word in ("vision tower", "audio tower", "Gemma4ClippableLinear", "projector", "output head", "llama.cpp"):
        assert word in reasons


def test_a_list_of_names_leaves_out_the_towers_that_peft_would_refuse(meta):
    model = meta("google--gemma-4-E4B-it")
    by_list = lora.resolve(model, ["q_proj", "k_proj", "v_proj", "o_proj"])
    assert by_list == lora.resolve(model, "attention")
    towers = [group for group in by_list.left_out if "Gemma4ClippableLinear" in group.reason]
    assert [group.count for group in towers] == [16 * 4, 12 * 3]  # vision has q, k, v, o; audio q, k, v
    with pytest.raises(ValueError, match="Gemma4ClippableLinear"):
        get_peft_model(model, lora.config(Lora(), lora.Targets((), (), r".*\.(q_proj|k_proj|v_proj|o_proj)")))


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantised_model_and_its_meta_twin_have_the_same_targets(tmp_path, quantization):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = tiny_models.build("gemma4", tmp_path / "base")
    settings = BitsAndBytesConfig(load_in_4bit=quantization == "nf4", load_in_8bit=quantization == "int8")
    plain = AutoModelForCausalLM.from_pretrained(folder)
    quantised = AutoModelForCausalLM.from_pretrained(folder, quantization_config=settings)
    assert any(type(m) is not nn.Linear and isinstance(m, nn.Linear) for m in quantised.modules())
    for targets in ("attention", "mlp", "all"):
        expected = lora.resolve(skeleton.meta_model(folder), targets)
        assert lora.resolve(plain, targets) == lora.resolve(quantised, targets) == expected
    assert injected(get_peft_model(quantised, lora.config(Lora(), expected))) == list(expected.modules)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_plain_peft_loads_the_adapter_onto_the_same_modules(tmp_path, family):
    from transformers import AutoModelForCausalLM

    base = tiny_models.build(family, tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    resolved = lora.resolve(model, "all")
    get_peft_model(model, lora.config(Lora(r=2), resolved)).save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    assert injected(loaded) == list(resolved.modules)


def test_the_adapters_configuration_is_the_same_bytes_each_time_and_can_be_read(meta):
    model = meta("google--gemma-4-E4B-it")
    written = lora.config(Lora(), lora.resolve(model, "attention")).target_modules
    assert written == r"model\.language_model\.layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj|o_proj)"


@pytest.mark.parametrize("name", ["microsoft--Phi-3-mini-4k-instruct", "TinyLlama--TinyLlama-1.1B-Chat-v1.0"])
def test_attention_and_mlp_in_a_list_are_both_of_them_in_each_familys_own_names(meta, name):
    model = meta(name)
    both = lora.resolve(model, ["attention", "mlp"])
    assert len(both.modules) == COUNTS[name][1]
    assert set(both.modules) == {m for word in ("attention", "mlp") for m in lora.resolve(model, word).modules}
    only_some = lora.resolve(model, ["attention", "down_proj"])
    assert {m.rpartition(".")[2] for m in both.modules} > {m.rpartition(".")[2] for m in only_some.modules}


def test_a_regular_expression_and_full_names_adapt_those_modules_only(meta):
    model = meta("Qwen--Qwen3-0.6B")
    names = ("model.layers.3.self_attn.q_proj", "model.layers.13.mlp.up_proj")
    by_expression = lora.resolve(model, r".*\.3\.self_attn\.q_proj|.*\.13\.mlp\.up_proj")
    assert by_expression.modules == names
    assert lora.resolve(model, list(names)) == by_expression
    assert injected(get_peft_model(model, lora.config(Lora(), by_expression))) == list(names)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (["q_prj"], "write [q_proj]"),
        ("q_proj", "write [q_proj]"),  # an expression is matched on full names
        (["q_proj", "lm_head"], "output head"),
        (["embed_tokens"], "Embedding"),
        (["linear"], "Gemma4ClippableLinear"),
        (r".*vision_tower.*", "vision tower"),
        ("embedding", "q_proj (4), k_proj (2)"),  # what there is: the last two of four layers have no k_proj
    ],
)
def test_targets_that_cannot_be_adapted_say_why_and_what_there_is(targets, told):
    model = skeleton.meta_model(tiny_models.config("gemma4"))
    with pytest.raises(UserError) as error:
        lora.resolve(model, targets)
    assert told in str(error.value)


def test_a_router_gets_no_adapter(meta):
    moe = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 64}
    model = skeleton.meta_model(tiny_models.config("gemma4", **moe))
    routers = {name for name, m in model.named_modules() if isinstance(m, nn.Linear) and ".router." in name}
    resolved = lora.resolve(model, "all")
    assert routers and not routers.intersection(resolved.modules)
    assert [g.count for g in resolved.left_out if "router" in g.reason] == [len(routers)]


def test_parts_with_names_unheard_of_are_left_out_for_lying_outside_the_language_model():
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    config = Idefics3Config(
        text_config={"model_type": "llama", **tiny_models.DENSE}, vision_config={"num_hidden_layers": 1}, scale_factor=1
    )
    with torch.device("meta"):
        model = Idefics3ForConditionalGeneration(config)
    resolved = lora.resolve(model, "all")
    assert len(resolved.modules) == tiny_models.DENSE["num_hidden_layers"] * (ATTENTION + MLP)
    outside = [group for group in resolved.left_out if group.reason == "outside the language model"]
    assert [group.example.startswith("model.connector") for group in outside] == [True]


def test_gradients_reach_every_adapter_and_nothing_else():
    """An adapter that text never runs through would have none, and DDP would wait for it."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_models.config("gemma4"))
    peft = get_peft_model(model, lora.config(Lora(r=2), lora.resolve(model, "all")))
    tokens = torch.arange(10, 26).reshape(2, 8)
    peft(input_ids=tokens, labels=tokens, mm_token_type_ids=torch.zeros_like(tokens)).loss.backward()
    trainable = {name for name, p in peft.named_parameters() if p.requires_grad}
    assert {name for name, p in peft.named_parameters() if p.grad is not None} == trainable
