"""Which model judges: what the recipe names, or what fits, and the same one for as long as the recipe asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from embedded_hub import alice, hub  # noqa: F401  fixtures
from huggingface_hub import CommitOperationAdd, HfApi

from localpsych_recipes import judge
from localpsych_recipes.errors import UserError
from localpsych_recipes.judge.choosing import that_fits
from localpsych_recipes.machine import Ranks
from localpsych_recipes.recipe import Judge
from tests.families import bases
from tests.scripted_judge import listening

GB = 1e9
EIGHT, FOUR = "Qwen/Qwen3-8B", "Qwen/Qwen3-4B"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return bases.make("tinyllama", tmp_path_factory.mktemp("base") / "tiny-llama")


def put(api: HfApi, repo: str, folder: Path, **more: str) -> str:
    api.create_repo(repo, exist_ok=True)
    files = [CommitOperationAdd(path.name, path) for path in folder.iterdir()]
    files += [CommitOperationAdd(name, text.encode()) for name, text in more.items()]
    return api.create_commit(repo, files, commit_message="files").oid


@pytest.mark.parametrize(
    ("settings", "enough"),
    [  # parameters x bytes x 1.2, worked out by hand
        ({"quantization": "nf4"}, 8.2 * 0.75 * 1.2),
        ({"quantization": "int8"}, 8.2 * 1.1 * 1.2),
        ({"quantization": "none"}, 8.2 * 2 * 1.2),
        ({"server": "llama.cpp"}, 8.2 * 1.0625 * 1.2),
        ({"server": "vllm"}, 8.2 * 2 * 1.2),
    ],
)
def test_the_larger_judge_is_taken_where_it_fits(settings, enough):
    asked = Judge(**settings)
    assert that_fits(asked, (enough + 0.01) * GB) == EIGHT
    assert that_fits(asked, (enough - 0.01) * GB) == FOUR
    assert that_fits(asked, 0) == FOUR  # which then says itself that memory is short


def test_on_an_address_the_only_model_there_judges_and_is_known_by_its_own_name(tmp_path):
    with listening(model="sage") as server:
        asked = Judge(server=server.url)
        assert judge.choose(asked, tmp_path / "judge.json", Ranks()) == judge.Choice("sage")
    # also while the server is down, since everything may have been judged
    assert judge.choose(asked, tmp_path / "judge.json", Ranks()) == judge.Choice("sage")
    assert judge.weights(asked, judge.Choice("sage"), print) is None
    assert judge.refuse_unusable(asked) is None


def test_the_judge_of_the_first_run_stays_while_the_recipe_asks_for_the_same(alice, folder, tmp_path):
    file, asked = tmp_path / "judge.json", Judge(model="alice/judge")
    first = put(alice, "alice/judge", folder)
    assert judge.choose(asked, file, Ranks()) == judge.Choice("alice/judge", first)
    second = put(alice, "alice/judge", folder, **{"notes.txt": "newer"})
    assert first != second
    assert judge.choose(asked, file, Ranks()).commit == first
    warmer = asked.model_copy(update={"temperature": 0.5, "max_tokens": 99, "slots": 3, "batch_size": 1})
    assert judge.choose(warmer, file, Ranks()).commit == first
    assert judge.choose(asked.model_copy(update={"quantization": "none"}), file, Ranks()).commit == second
    assert json.loads(file.read_text())["asked"]["quantization"] == "none"


def test_weights_come_from_the_hub_at_that_commit(alice, folder, tmp_path):
    asked = Judge(model="alice/judge", quantization="none")
    put(alice, "alice/judge", folder)
    choice = judge.choose(asked, tmp_path / "judge.json", Ranks())
    small = judge.weights(asked, choice, print, fetch=False)
    assert (small.folder / "config.json").exists() and not (small.folder / "model.safetensors").exists()
    found = judge.weights(asked, choice, lambda text: None)
    assert found == small
    assert found.folder.name == choice.commit and (found.folder / "model.safetensors").exists()
    assert (found.name, found.adapter, found.base.dtype) == ("alice/judge", None, "float32")
    assert judge.weights(asked, judge.Choice("alice/judge", choice.commit), print).identity == found.identity
    loaded_otherwise = asked.model_copy(update={"quantization": "nf4"})
    assert judge.weights(loaded_otherwise, choice, print).identity != found.identity


def test_a_local_judge_is_known_by_what_it_holds_and_not_by_where(folder, tmp_path):
    def weights(place: Path):
        asked = Judge(model=str(place))
        return judge.weights(asked, judge.choose(asked, tmp_path / "judge.json", Ranks()), print)

    moved = bases.make("tinyllama", tmp_path / "elsewhere" / "tiny-llama")
    assert weights(folder).identity == weights(moved).identity and weights(folder).name == "tiny-llama"
    (moved / "chat_template.jinja").write_text("{{ messages }}")
    assert weights(folder).identity != weights(moved).identity


def test_the_type_of_its_weights_is_the_one_of_its_configuration(folder, tmp_path):
    for config, dtype in [({"dtype": "float16"}, "float16"), ({"text_config": {"torch_dtype": "float32"}}, "float32"),
                          ({}, "bfloat16"), ({"dtype": "float8_e4m3fn"}, "bfloat16")]:  # fmt: skip
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert judge.weights(Judge(), judge.Choice(str(tmp_path)), print).base.dtype == dtype


def test_a_judge_that_is_not_there_or_follows_no_instructions_is_found_before_the_run(alice, folder, tmp_path):
    assert judge.refuse_unusable(Judge(model=str(folder))) == folder
    put(alice, "alice/judge", folder)
    assert (judge.refuse_unusable(Judge(model="alice/judge")) / "config.json").exists()
    with pytest.raises(UserError, match="judge.model: the Hub has no alice/gone"):
        judge.refuse_unusable(Judge(model="alice/gone"))
    with pytest.raises(UserError, match="judge.model: alice/judge has no such revision"):
        judge.refuse_unusable(Judge(model="alice/judge", revision="gone"))
    raw = bases.make("tinyllama", tmp_path / "raw")
    (raw / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="judge.model: raw has no chat template"):
        judge.refuse_unusable(Judge(model=str(raw)))


def test_a_gguf_is_for_llama_cpp_alone(tmp_path):
    file = tmp_path / "judge.gguf"
    with pytest.raises(UserError, match="judge.gguf is not there"):
        judge.refuse_unusable(Judge(model=str(file), server="llama.cpp"))
    file.write_bytes(b"GGUF")
    assert judge.refuse_unusable(Judge(model=str(file), server="llama.cpp")) == file
    with pytest.raises(UserError, match="set judge.server: llama.cpp"):
        judge.refuse_unusable(Judge(model=str(file)))


def test_what_is_said_of_a_base_is_said_of_the_judge():
    with pytest.raises(UserError) as caught, judge.about_the_judge():
        raise UserError("base.model: org/my-base has none", "an -it base", "check base.model and base.revision")
    assert str(caught.value) == (
        "judge.model: org/my-base has none\n  expected: an -it judge\n  do: check judge.model and judge.revision"
    )
