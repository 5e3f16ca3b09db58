"""A release that is what was trained is proven so; each thing that goes wrong on the way is caught, at its own hop."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localpsych_recipes import cli, llama_cpp
from localpsych_recipes.cards import published as published_recipe
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation.rendering import Renderer
from localpsych_recipes.pipeline import Run
from localpsych_recipes.recipe import Bound
from localpsych_recipes.stages import verify
from localpsych_recipes.verification import carried, in_llama_cpp, in_process, probes, proving, stops, template
from localpsych_recipes.verification.proof import Proof
from localpsych_recipes.verification.release import Release, assemble_adapter, name_base, of_run
from tests.embedded_hub import alice, hub  # noqa: F401  fixtures
from tests.families.rows import ROWS
from tests.verification import released

pytestmark = pytest.mark.usefixtures("one_thread")
WHOLE = ["*"]
HOPS = ["adapter", "as_trained", "template", "merged", "template", "stops", "gguf"]
FILE = ["loads", "template", "stops", "quant"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, llama, one_thread) -> Run:
    return released.make(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def proven(trained) -> tuple[Run, dict[str, Any]]:
    """The stage's results for the release as it was made, which stays in RUN/release."""
    return trained, verify.run(trained)


def failed(results: dict[str, Any]) -> dict[str, str]:
    """What is not proven, "hop of file or kind" -> why."""
    return {f"{h['hop']} of {h['file'] or h['kind']}": h["why"] for h in results["hops"] if not h["passed"]}


def test_a_release_that_is_what_was_trained_is_proven_file_by_file(proven):
    _, results = proven
    assert failed(results) == {} and results["passed"] and results["withheld"] == {}
    assert [hop["hop"] for hop in results["hops"]] == [*HOPS, *FILE, *FILE, "adapter_gguf"]
    by_name = {hop["hop"]: hop for hop in results["hops"]}
    assert by_name["merged"]["measures"]["adapted_tensors"] == by_name["adapter"]["measures"]["modules"]
    assert by_name["adapter"]["measures"]["kl"] > 1  # it says something else than its base
    assert by_name["as_trained"]["measures"]["kl"] > by_name["merged"]["measures"]["kl"]  # four bits against a rounding
    assert by_name["stops"]["measures"] == {"answers": 4, "ended": 4, "share": 1.0}
    assert results["probes"]["rows"] == 2 and results["probes"]["pieces"] == 4


def test_nothing_that_was_compared_stays_or_is_told(proven):
    run, results = proven
    assert not run.dir.verification.exists()
    told = json.dumps(results)
    assert not any(text in told for row in ROWS for text in row) and str(run.dir.root) not in told


def without_ggufs(run: Run) -> Release:
    return replace(of_run(run), ggufs=(), adapter_gguf=None)


def prove(run: Run, release: Release, tmp_path: Path) -> dict[str, Any]:
    return proving.prove(release, run.recipe.verify, seed=1, work=tmp_path / "work", say=run.say)


def test_an_adapter_of_zeros_is_caught_and_nothing_made_from_it_is_published(proven, tmp_path):
    run = released.copied(proven[0], tmp_path / "run")
    released.zero(run.final_adapter)
    assemble_adapter(run)
    release = without_ggufs(run)
    results = prove(run, replace(release, merged=None, trained={}), tmp_path)  # as of a stranger's release
    modules = results["hops"][0]["measures"]["modules"]
    assert failed(results)["adapter of adapter"].startswith(f"{modules} of {modules} modules add nothing: ")
    assert results["withheld"] == {"adapter": WHOLE, "gguf": WHOLE, "merged": WHOLE}

    proof = Proof(release, run.recipe.verify, None, tmp_path, run.say)
    assert in_process.differs(proof).wrong == "adapter_model.safetensors: not what training left"


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"lora_alpha": 16}, "adapter_config.json: not what training left"),
        ({"base_model_name_or_path": "mallory/tiny"}, "adapter_config.json names another base than the recipe"),
        ({"revision": "0" * 40}, "adapter_config.json: not what training left"),
    ],
    ids=["half of alpha", "another base", "another revision"],
)
def test_an_adapter_that_is_put_on_its_base_otherwise_than_in_training_is_caught(proven, tmp_path, said, wrong):
    run = released.copied(proven[0], tmp_path / "run")
    released.edit_json(run.dir.release("adapter") / "adapter_config.json", **said)
    assert in_process.differs(Proof(of_run(run), run.recipe.verify, None, tmp_path, run.say)).wrong == wrong


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("generation_config.json", {"do_sample": True, "temperature": 5.0}),
        ("config.json", {"tie_word_embeddings": False}),
        ("modeling_other.py", None),
        ("pytorch_model.bin", None),
        ("model-00002-of-00002.safetensors", None),
    ],
)
def test_what_lies_beside_the_merged_weights_and_is_not_the_bases_is_caught(proven, tmp_path, file, said):
    run = released.copied(proven[0], tmp_path / "run")
    path = run.dir.release("merged") / file
    released.edit_json(path, **said) if said else path.write_text("x")
    wrong = in_process.is_merged(Proof(of_run(run), run.recipe.verify, None, tmp_path, run.say)).wrong
    assert wrong.split(": ")[0] == file


def test_a_quant_holds_the_adapter_or_the_base_whatever_its_rounding_hides(proven, llama, tmp_path):
    """The bound on KL of two bits is 1 nat: a base that training has moved by less would be within it."""
    run = proven[0]
    sixteen_bit, lora, coarse = run.dir.sixteen_bit_gguf, run.dir.adapter_gguf, tmp_path / "small-Q2_K.gguf"
    llama.quantize(sixteen_bit, coarse, "Q2_K")
    for gguf in (*run.dir.release("gguf").glob("*.gguf"), coarse):
        assert carried.share(gguf, sixteen_bit, lora) == pytest.approx(1, abs=0.05), gguf.name
    released.quant_of_base(llama, Path(run.recipe.base.model), coarse, "Q2_K", tmp_path)
    assert carried.share(coarse, sixteen_bit, lora) == pytest.approx(0, abs=0.05)

    lenient = run.recipe.verify.model_copy(update={"quants": {"Q2_K": Bound(kl=99, top1=0, perplexity_ratio=None)}})
    release = replace(of_run(run), ggufs=(coarse,), adapter_gguf=None)
    proof = Proof(release, lenient, probes.of(release, lenient, 1), tmp_path, run.say)
    hop = list(in_llama_cpp.files(proof))[-1]
    assert hop.hop == "quant" and hop.found.wrong == "its weights hold 0.00 of what the adapter adds to the base's"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gemma4.context_length", 32),
        ("gemma4.attention.sliding_window", 4096),
        ("gemma4.rope.freq_base", 1e4),
        ("gemma4.final_logit_softcapping", 0.0),
        ("tokenizer.ggml.padding_token_id", 3),
    ],
)
def test_a_number_in_a_quant_that_few_tokens_would_not_show_is_caught_by_its_key(proven, tmp_path, key, value):
    run = proven[0]
    whole, other = run.dir.release("gguf") / "small-Q8_0.gguf", tmp_path / "small-Q8_0.gguf"
    released.with_setting(whole, other, key, value)
    proof = Proof(of_run(run), run.recipe.verify, None, tmp_path, run.say)
    read = llama_cpp.tokenizer if key.startswith("tokenizer") else llama_cpp.settings
    as_converted = proof.tokenizer if key.startswith("tokenizer") else proof.settings
    assert in_llama_cpp.unlike(read(whole), as_converted) is None
    assert in_llama_cpp.unlike(read(other), as_converted) == f"{key}: not the 16-bit GGUF's"


def test_a_quant_one_layer_of_which_has_fewer_bits_than_its_name_says_is_caught(proven, llama, tmp_path):
    run, other = proven[0], tmp_path / "small-Q8_0.gguf"
    command = [llama.paths["llama-quantize"], "--tensor-type", "blk.1.ffn_down=q2_k"]
    subprocess.run([*command, run.dir.sixteen_bit_gguf, other, "Q8_0"], check=True, capture_output=True)
    wrong = in_llama_cpp.unlike_its_name(other, "Q8_0")
    assert wrong == "blk.1.ffn_down.weight is of type Q2_K, which Q8_0 is not made of"
    assert in_llama_cpp.unlike_its_name(run.dir.release("gguf") / "small-Q8_0.gguf", "Q8_0") is None


def test_a_folder_that_was_deleted_under_the_proof_ends_in_one_message_and_the_16_bit_gguf_is_made_again(
    proven, tmp_path
):
    run = released.copied(proven[0], tmp_path / "run")
    shutil.rmtree(run.dir.sixteen_bit_gguf.parent)
    assert of_run(run).sixteen_bit is None
    with pytest.raises(UserError, match="gguf/adapter.gguf is gone, although gguf was done"):
        verify.run(run)
    shutil.rmtree(run.dir.release("merged"))
    with pytest.raises(UserError, match=r"(?s)release/merged is gone.*--from merge --force"):
        proving.prove_run(run)


def test_the_gguf_of_another_adapter_is_caught_however_close_that_one_is(proven, llama, tmp_path):
    run = released.copied(proven[0], tmp_path / "run")
    adapter = run.dir.release("adapter")
    other = released.nearly(run.final_adapter, tmp_path / "other")
    llama.convert_lora(Path(run.recipe.base.model), other, adapter / "adapter.gguf", outtype="f16", name="small")
    proof = Proof(of_run(run), run.recipe.verify, None, tmp_path, run.say)
    (hop,) = in_llama_cpp.adapter(proof)
    assert hop.found.wrong.endswith("lora_b: not the adapter's") and (hop.kind, hop.file) == ("adapter", "adapter.gguf")


def test_one_tensor_left_unmerged_is_caught_by_its_name(proven, tmp_path):
    run, name = released.copied(proven[0], tmp_path / "run"), "model.language_model.layers.1.mlp.up_proj.weight"
    released.leave_unmerged(Path(run.recipe.base.model), run.dir.release("merged"), name)
    results = prove(run, without_ggufs(run), tmp_path)
    assert failed(results) == {"merged of merged": f"{name} is the base's still: the adapter was not merged into it"}
    assert results["withheld"] == {"gguf": WHOLE, "merged": WHOLE}


def test_another_eos_token_in_the_merged_folder_is_caught_where_answers_end(proven, tmp_path):
    run = released.copied(proven[0], tmp_path / "run")
    merged, base = run.dir.release("merged"), Path(run.recipe.base.model)
    released.edit_json(merged / "tokenizer_config.json", eos_token="<pad>")
    released.edit_json(merged / "generation_config.json", eos_token_id=1)
    results = prove(run, without_ggufs(run), tmp_path)
    assert set(failed(results)) == {"stops of merged", "template of merged"}
    assert "does not end answers at <turn|>" in failed(results)["stops of merged"]
    assert failed(results)["template of merged"] == "tokenizer_config.json: not the base's"
    assert results["withheld"] == {"merged": WHOLE}

    released.edit_json(merged / "generation_config.json", eos_token_id=[1, 16])
    assert stops.in_folder(merged, base, Renderer(base)) == "eos_token is <pad>, the base's is <eos>"


def test_a_space_more_in_the_merged_folders_template_is_caught(proven, tmp_path):
    run = released.copied(proven[0], tmp_path / "run")
    released.edit_text(run.dir.release("merged") / "chat_template.jinja", released.one_space_more)
    results = prove(run, without_ggufs(run), tmp_path)
    assert failed(results) == {"template of merged": "chat_template.jinja: not the base's"}
    assert results["withheld"] == {"merged": WHOLE}


def test_a_template_beside_the_bases_own_is_caught(proven, tmp_path):
    """transformers takes additional_chat_templates/tool_use.jinja as soon as a prompt has tools."""
    run = released.copied(proven[0], tmp_path / "run")
    merged, base = run.dir.release("merged"), Path(run.recipe.base.model)
    assert template.in_folder(merged, base).wrong is None
    (merged / "additional_chat_templates").mkdir()
    (merged / "additional_chat_templates" / "tool_use.jinja").write_text("{{ messages }}")
    assert template.in_folder(merged, base).wrong == "additional_chat_templates/tool_use.jinja: not the base's"


def test_of_damaged_ggufs_each_is_caught_at_its_own_hop_and_the_good_one_is_not(proven, llama, tmp_path):
    run = released.copied(proven[0], tmp_path / "run", quants={"Q2_K": {"kl": 0.001, "top1": None}})
    folder, base = run.dir.release("gguf"), Path(run.recipe.base.model)
    made = {
        quant: folder / f"small-{quant}.gguf"
        for quant in ("Q4_K_M", "Q8_0", "Q2_K", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_0")
    }
    whole = made["Q4_K_M"]  # what is copied from it under another name is not what that name says

    released.quant_of_base(llama, base, made["Q8_0"], "Q8_0", tmp_path)
    llama.quantize(run.dir.sixteen_bit_gguf, made["Q2_K"], "Q2_K")
    made["Q6_K"].write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    written = (base / "chat_template.jinja").read_text(encoding="utf-8")
    seen, unseen = released.one_space_more(written), written.replace("{%- if", "{%-  if", 1)
    assert written not in (seen, unseen)
    released.with_metadata(whole, made["Q5_K_M"], "--chat-template", seen)
    released.with_metadata(whole, made["Q4_0"], "--chat-template", unseen)
    released.with_metadata(whole, made["Q5_K_S"], "--special-token-by-id", "eos", "3")

    made["Q5_0"] = folder / "small-Q5_0.gguf"
    released.with_another_merge(whole, made["Q5_0"])

    results = prove(run, replace(of_run(run), adapter=None, adapter_gguf=None), tmp_path)
    why = failed(results)
    why.pop("stops of small-Q8_0.gguf", None)  # what the base says may end or not
    renamed = [why.pop(f"quant of small-{quant}.gguf") for quant in ("Q5_K_M", "Q5_K_S", "Q4_0", "Q5_0")]
    assert all("is of type Q4_K, which Q" in wrong for wrong in renamed)
    assert set(why) == {
        "quant of small-Q8_0.gguf", "quant of small-Q2_K.gguf", "loads of small-Q6_K.gguf",
        "template of small-Q5_K_M.gguf", "template of small-Q4_0.gguf", "stops of small-Q5_K_S.gguf",
        "template of small-Q5_0.gguf",
    }  # fmt: skip
    assert re.match(r"mean KL divergence is 0\.\d+ \(at most 0\.001 asked\)", why["quant of small-Q2_K.gguf"])
    assert "other text for" in why["template of small-Q5_K_M.gguf"]
    assert why["template of small-Q5_0.gguf"] == "tokenizer.ggml.merges: not the 16-bit GGUF's"
    assert "reads <unk> as eos_token, the base's is <eos>" in why["stops of small-Q5_K_S.gguf"]
    assert not [hop for hop in results["hops"] if hop["file"] == "small-Q6_K.gguf"][1:]
    assert results["withheld"] == {"gguf": sorted(path.name for path in made.values() if path != whole)}


def test_a_run_directory_is_proven_by_the_command_and_its_release_stays_as_it_is(proven, tmp_path, capsys):
    run = released.copied(proven[0], tmp_path / "run")
    card = run.dir.release("adapter") / "README.md"
    card.write_text("the card")
    assert cli.main(["verify", str(run.dir.root), "--set", "gguf=false"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:4]] == ["adapter", "as_trained of adapter", "template of adapter"]
    assert lines[-1] == "everything that is there is proven" and card.read_text() == "the card"


@pytest.fixture
def on_the_hub(proven, hub, alice, tmp_path) -> Run:
    """The proven release and its base as they lie on the Hub; their repositories are alice's."""
    run = released.copied(proven[0], tmp_path / "run")
    push(alice, "tiny", Path(run.recipe.base.model))
    commit = alice.model_info("alice/tiny").sha
    pins = released.PINS | {"base": {"model": "alice/tiny", "commit": commit}}
    base = run.recipe.base.model_copy(update={"model": "alice/tiny", "hub_id": None})
    recipe = published_recipe.dump(run.recipe.model_copy(update={"base": base}), pins)
    name_base(run.dir.release("adapter") / "adapter_config.json", "alice/tiny")
    for kind, name in {"adapter": "small-LoRA", "merged": "small", "gguf": "small-GGUF"}.items():
        (run.dir.release(kind) / "recipe.yaml").write_text(recipe, encoding="utf-8")
        push(alice, name, run.dir.release(kind))
    return run


def push(alice, name: str, folder: Path) -> None:
    alice.create_repo(f"alice/{name}", private=True, exist_ok=True)
    alice.upload_folder(repo_id=f"alice/{name}", folder_path=folder)


def test_a_release_on_the_hub_is_proven_from_any_of_its_repositories_until_a_file_is_another(
    on_the_hub, alice, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(on_the_hub.dir.root)
    assert cli.main(["verify", "hf://alice/small-LoRA"]) == 0
    text = capsys.readouterr().out
    assert "everything that is there is proven" in text and "adapter_gguf of adapter.gguf" in text

    alice.delete_repo("alice/small-LoRA")
    assert cli.main(["verify", "hf://alice/small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "what was compared is proven, and nothing of what was left out"
    assert "merged was left out: there is no adapter to hold the weights against" in lines
    assert any(
        line.startswith("adapter was left out: the adapter repository: the Hub has no alice/small-LoRA")
        for line in lines
    )

    alice.upload_file(path_or_fileobj=b"GGUF", path_in_repo="small-Q8_0.gguf", repo_id="alice/small-GGUF")
    alice.delete_repo("alice/small")
    assert cli.main(["verify", "hf://alice/small-GGUF"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": NOT PROVEN")[0] for line in lines if "NOT PROVEN" in line] == ["loads of small-Q8_0.gguf"]
    assert "withheld: small-Q8_0.gguf of gguf" in lines
    assert "quant was left out: there is no merged model to hold the weights against" in lines
