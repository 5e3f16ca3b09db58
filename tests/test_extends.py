"""`extends`: what is taken over, what never is, and that every value and every mistake keeps its place."""

import json
import re
from pathlib import Path

import pytest
from embedded_hub import alice, hub  # noqa: F401
from ruamel.yaml import YAML

from localpsych_recipes import __main__, cli, recipe
from localpsych_recipes.errors import UserError
from localpsych_recipes.recipe import json_schema
from localpsych_recipes.recipe_file import RecipeError, dump, extending, load, load_with_origins

RECIPES = Path(__file__).parents[1] / "recipes"
PARENT = """\
name: parent
version: 1.2.3
description: the parent's
license: mit
seed: 7
base:
  model: someone/base
  revision: "0123456"
  trust_remote_code: true
  dtype: float16
data:
  source: someone/rows
  revision: "89abcde"
  split: most
  test_size: 0.2
  columns: {prompt: question, chosen: good, rejected: bad}
  system: Be kind.
lora:
  target_modules: [q_proj, v_proj]
sft:
  learning_rate: 3e-4
  max_length: 512
dpo:
  beta: 0.2
merge:
verify:
card:
  title: The parent
  tags: [kind]
push:
  namespace: parents
  merged: parents/repo
  private: false
  despite_licences: [cc-by-nc-4.0]
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with the parent in it, which is also where the user is."""
    (tmp_path / "parent.yaml").write_text(PARENT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def child(text: str, extends: str = "parent.yaml") -> Path:
    path = Path("child.yaml")
    path.write_text(f"extends: {extends}\nname: child\n{text}")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as raised:
        load(path, overrides)
    return raised.value.problems


def test_mappings_are_merged_key_by_key_and_lists_replaced(place):
    made = load(child("sft: {max_length: 256}\ncard: {tags: [calm]}\n"))
    assert (made.sft.learning_rate, made.sft.max_length) == (3e-4, 256)
    assert made.card.tags == ("calm",)
    assert (made.seed, made.data.source, made.data.columns.rejected) == (7, "someone/rows", "bad")


def test_a_stage_is_taken_out_by_false_and_kept_by_its_name_alone(place):
    made = load(child("dpo: false\nsft:\n"))
    assert made.dpo is None
    assert made.sft.learning_rate == 3e-4


def test_a_stage_that_was_taken_out_comes_back_with_its_defaults(place):
    Path("middle.yaml").write_text("extends: parent.yaml\nname: middle\ndpo: false\n")
    assert load(child("dpo:\n", extends="middle.yaml")).dpo.beta == recipe.Dpo().beta


def test_columns_are_replaced_whole(place):
    made = load(child("data: {columns: {prompt: q, response: a}}\ndpo: false\n"))
    assert made.data.columns.parts == {"prompt": "q", "response": "a"}


JUDGED = (
    PARENT.replace("someone/base", "Qwen/base")
    + """\
judge: {model: Qwen/judge, revision: "0123456", allow_same_family: true, temperature: 0.5}
pairs:
  server: http://127.0.0.1:8080/v1
  model: small
  criteria: {warmth: is kind, patience: lets them talk}
  vetoes: {rude: is rude}
"""
)


def test_what_a_judge_looks_for_is_replaced_whole(place):
    Path("parent.yaml").write_text(JUDGED)
    made = load(child("pairs: {criteria: {calm: is calm}}\n"))
    assert (made.pairs.criteria, made.pairs.vetoes) == ({"calm": "is calm"}, {"rude": "is rude"})


def test_another_judge_or_base_has_no_revision_and_no_leave_of_the_parents(place):
    Path("parent.yaml").write_text(JUDGED)
    assert load(child("seed: 1\n")).judge == load("parent.yaml").judge
    assert load(child("judge: {model: Qwen/other}\n")).judge == recipe.Judge(model="Qwen/other", temperature=0.5)
    assert not load(child("base: {model: Qwen/another}\n")).judge.allow_same_family


def test_a_name_on_a_server_stays_with_the_server(place):
    Path("parent.yaml").write_text(JUDGED)
    assert load(child("pairs: {temperature: 1.1}\n")).pairs.model == "small"
    assert load(child("pairs: {server: llama.cpp}\n")).pairs.model == "default"


def test_what_names_a_release_is_never_inherited(place):
    made, parent = load(child("")), load("parent.yaml")
    assert made.name == "child"
    for key in extending.IDENTITY[1:]:
        *section, name = key.split(".")
        holder = getattr(made, section[0]) if section else made
        assert getattr(holder, name) == type(holder).model_fields[name].default, key
    assert (parent.version, parent.card.title, parent.push.merged) == ("1.2.3", "The parent", "parents/repo")
    assert not made.push.private  # of one's own recipes a decision like any other


def test_a_recipe_without_a_name_of_its_own_is_refused(place):
    Path("child.yaml").write_text("extends: parent.yaml\nseed: 1\n")
    assert problems(Path("child.yaml")) == ["child.yaml:1: name: missing; it is never taken over by `extends`"]


def test_another_dataset_takes_the_old_one_s_commit_split_and_columns_with_it_but_not_the_held_out_share(place):
    made = load(child("data: {source: me/rows, columns: {prompt: q, response: a}}\ndpo: false\n")).data
    assert (made.revision, made.split, made.columns.prompt) == (None, "train", "q")
    assert (made.test_size, made.system) == (0.2, "Be kind.")
    same = load(child("data: {source: someone/rows, shuffle_seed: 3}\n")).data
    assert (same.revision, same.split, same.columns.prompt) == ("89abcde", "most", "question")


def test_every_key_of_a_source_goes_with_it():
    assert {f"data.{key}" for key in recipe.Source.model_fields} == {*extending.OF_A_SOURCE, "data.test_size"}


def test_a_mixture_takes_the_place_of_a_source_and_a_source_that_of_a_mixture(place):
    mixture = "data: {mixture: [{source: a/b, columns: {prompt: q, chosen: x, rejected: y}}]}\n"
    Path("mixed.yaml").write_text(f"extends: parent.yaml\nname: mixed\n{mixture}")
    assert [source.source for source in load("mixed.yaml").data.sources] == ["a/b"]
    again = load(child("data: {source: c/d, columns: {prompt: q, response: x}}\ndpo: false\n", extends="mixed.yaml"))
    assert [source.source for source in again.data.sources] == ["c/d"]


def test_a_split_of_its_own_replaces_the_held_out_share(place):
    made = load(child("data: {test_split: test}\n")).data
    assert (made.test_split, made.test_size) == ("test", None)


def test_another_base_takes_what_was_said_about_the_old_one_with_it(place):
    made = load(child("base: {model: other/base}\n")).base
    assert (made.revision, made.trust_remote_code, made.dtype) == (None, False, "float16")
    assert load(child("base: {dtype: bfloat16}\n")).base.trust_remote_code


def test_a_file_is_looked_for_beside_the_recipe_and_chains_work_from_anywhere(place, tmp_path_factory, monkeypatch):
    (place / "deeper").mkdir()
    (place / "deeper" / "child.yaml").write_text("extends: ../middle.yaml\nname: child\n")
    (place / "middle.yaml").write_text("extends: parent.yaml\nname: middle\nseed: 8\n")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    made = load(place / "deeper" / "child.yaml")
    assert (made.seed, made.sft.max_length) == (8, 512)


def test_a_shipped_recipe_is_extended_by_its_name(place):
    made, origins = load_with_origins(child("", extends="demo"))
    assert made.base == load("demo").base
    assert str(origins[("base", "model")]).startswith("recipes/demo.yaml:")


@pytest.mark.parametrize(
    "extends", ["missing", "missing.yaml", "../missing.yaml", "hf://user", "hf://a/b/c", "3", "[]"]
)
def test_an_origin_that_is_not_there_is_one_message_with_the_line(place, extends):
    (problem,) = problems(child("", extends=extends))
    assert problem.startswith("child.yaml:1: extends: ") and "demo" in problem


@pytest.mark.parametrize("name", ["child.yaml", "round.yaml"])
def test_a_circle_is_one_message(place, name):
    Path("round.yaml").write_text("extends: child.yaml\nname: round\n")
    (problem,) = problems(child("", extends=name))
    assert "circle" in problem and problem.endswith("child.yaml")


def test_a_recipe_may_have_the_name_of_the_shipped_one_that_it_extends(place):
    Path("recipes").mkdir()
    Path("recipes/demo.yaml").write_text("extends: demo\nname: mine\n")
    assert load("recipes/demo.yaml").base.model == load(RECIPES / "demo.yaml").base.model


def test_a_mistake_is_shown_where_it_stands(place):
    Path("parent.yaml").write_text(PARENT.replace("max_length", "max_lenght"))
    line = PARENT[: PARENT.index("max_length")].count("\n") + 1
    assert problems(child("sft: {learning_rte: 1e-4}\n"), "lora.r=0") == [
        "--set: lora.r: 0: input should be greater than 0",
        "child.yaml:3: sft.learning_rte: unknown key; did you mean learning_rate?",
        f"parent.yaml:{line}: sft.max_lenght: unknown key; did you mean max_length?",
    ]


def test_a_key_that_is_missing_is_told_where_it_has_to_be_written(place):
    assert problems(child("data:\n  source: other.csv\ndpo: false\n")) == ["child.yaml:3: data.columns: missing"]


def test_yaml_that_is_none_is_told_of_the_parent(place):
    Path("parent.yaml").write_text("a: [1\n")
    with pytest.raises(RecipeError, match=r"parent\.yaml: 1 error"):
        load(child(""))


def test_resolved_shows_where_every_value_comes_from_and_loads_again(place, capsys):
    path = child("sft: {max_length: 256}\ndata:\n  system: |\n    two\n    lines # and no comment\n")
    assert cli.main(["check", "--resolved", str(path), "--set", "lora.r=4"]) == 0
    text = capsys.readouterr().out
    Path("again.yaml").write_text(text)
    assert load("again.yaml") == load(path, ["lora.r=4"])
    assert "  max_length: 256  # child.yaml:3\n" in text
    assert "  beta: 0.2  # parent.yaml:24\n" in text
    assert "  r: 4  # --set\n" in text
    assert "  lora_alpha: 32  # default\n" in text
    assert re.search(r"  target_modules:  # parent.yaml:19\n\s+- q_proj\n", text)
    assert re.search(r"  system: .*lines # and no comment.*  # child.yaml:5\n", text)


def leaves(values, loc=()):
    if isinstance(values, dict) and values:
        return {place for key, below in values.items() for place in leaves(below, (*loc, key))}
    return {loc}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_value_that_a_shipped_recipe_gives_is_found_in_the_line_that_its_origin_names(path):
    _, origins = load_with_origins(path)
    for loc, origin in origins.items():
        if loc and isinstance(loc[-1], str):
            line = (RECIPES.parent / origin.where).read_text().splitlines()[origin.line - 1]
            assert f"{loc[-1]}:" in line.replace("'", ""), (loc, origin)
    given = leaves(YAML(typ="safe").load(path.read_text()))
    assert given - {("extends",)} <= set(origins)


def test_a_published_recipe_has_neither_extends_nor_origins(place):
    text = dump(load(child("")))
    assert "extends" not in text and "#" not in text


# the Hub's part


ELSEWHERE = "server: http://elsewhere/v1, allow_remote: true, api_key_env: ELSE_API_KEY"


@pytest.fixture
def published(place, hub, alice):  # noqa: F811
    alice.create_repo("alice/kind", private=True)
    first = (
        PARENT
        + f"augment: {{{ELSEWHERE}, temperature: 0.5}}\njudge: {{{ELSEWHERE}, model: someone/judge}}\n"
        + f"pairs: {{{ELSEWHERE}, model: small, publish: true, candidates: 2}}\n"
    )
    alice.upload_file(path_or_fileobj=first.encode(), path_in_repo="recipe.yaml", repo_id="alice/kind")
    alice.create_tag("alice/kind", tag="v1.2.3")
    later = PARENT.replace("max_length: 512", "max_length: 640").replace("dpo:", "dop:")
    alice.upload_file(path_or_fileobj=later.encode(), path_in_repo="recipe.yaml", repo_id="alice/kind")
    alice.create_repo("alice/empty", private=True)


def test_a_release_on_the_hub_is_extended_at_a_revision(published):
    made, origins = load_with_origins(child("", extends="hf://alice/kind@v1.2.3"))
    assert made.sft.max_length == 512
    assert str(origins[("sft", "max_length")]) == "hf://alice/kind@v1.2.3:22"


def test_a_release_is_checked_by_its_address_and_run_through_a_recipe_of_one_s_own(published, capsys):
    assert cli.main(["check", "hf://alice/kind@v1.2.3"]) == 0
    assert capsys.readouterr().out == "hf://alice/kind@v1.2.3: holds (parent)\n"
    assert __main__.main(["hf://alice/kind@v1.2.3"]) == 2
    assert "extends: hf://alice/kind@v1.2.3" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["plan", "data"])
def test_the_other_verbs_take_an_address_too(published, verb, capsys):
    assert cli.main([verb, "hf://alice/kind@v1.2.3"]) == 2
    assert "someone/" in capsys.readouterr().err  # the recipe was read: what it names is not on this Hub


@pytest.mark.parametrize("address", ["hf:/alice/kind", "hf://alice", "HF://alice/kind", "hf://alice/kind@"])
def test_an_address_with_a_mistake_is_one_message(place, address, capsys):
    assert cli.main(["check", address]) == 2
    assert "hf://USER/REPO" in capsys.readouterr().err


def test_without_a_revision_it_is_the_newest_and_its_mistakes_are_told_with_its_address(published):
    assert problems(child("", extends="hf://alice/kind"))[0].startswith("hf://alice/kind:23: dop: unknown key")


def test_another_s_consent_is_not_taken_over_from_the_hub(published):
    made = load(child("", extends="hf://alice/kind@v1.2.3"))
    assert made.push.private and not made.base.trust_remote_code
    assert made.augment == recipe.Augment(temperature=0.5)
    assert made.judge == recipe.Judge(model="someone/judge")
    assert made.pairs == recipe.Pairs(candidates=2)


def test_a_recipe_of_the_hub_reads_no_file_of_this_machine(published, alice):  # noqa: F811
    reaching = f"extends: {Path('parent.yaml').resolve()}\nname: reaching\n".encode()
    alice.upload_file(path_or_fileobj=reaching, path_in_repo="recipe.yaml", repo_id="alice/empty")
    assert "is no file beside this recipe" in problems(child("", extends="hf://alice/empty"))[0]


@pytest.mark.parametrize(
    ("address", "told"),
    [("hf://alice/nothing", "no alice/nothing"), ("hf://alice/kind@v9", "no such revision"), ("hf://alice/empty", "holds no recipe.yaml")],
)  # fmt: skip
def test_what_the_hub_does_not_have_is_one_message(published, address, told):
    with pytest.raises(UserError, match=told):
        load(child("", extends=address))


# the schema for editors


def test_the_schema_that_is_checked_in_is_the_code_s():
    assert json.loads((RECIPES / "schema.json").read_text()) == json_schema(), "run `make schema`"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.stem)
def test_an_editor_finds_the_schema_and_nothing_wrong_with_a_shipped_recipe(path):
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    schema = json.loads((path.parent / named[1]).read_text())
    assert list(mistakes(YAML(typ="safe", pure=True).load(text), schema, schema)) == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name: x\n", "base"), ("extends: demo\n", "name"), ("extends: demo\nname: x\nsfft: {}\n", "sfft"),
        ("extends: demo\nname: x\nbase: {dtype: float8}\n", "dtype"), ("extends: demo\nname: a b\n", "name"),
        ("name: x\ndata: {}\nbase: {dtype: float16}\n", "model"), ("extends: demo\nname: x\nsft: {max_steps: 0}\n", "max_steps"),
    ],
)  # fmt: skip
def test_an_editor_marks_a_mistake(text, key):
    assert key in " ".join(mistakes(YAML(typ="safe", pure=True).load(text), json_schema(), json_schema()))


TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
    "boolean": bool,
}


def mistakes(value, schema, root, key=""):
    """What JSON Schema (draft 2020-12) says about a value, for the keywords that a recipe's schema has."""
    known = {"$ref", "$defs", "anyOf", "if", "else", "type", "const", "enum", "pattern", "minLength", "minItems", "properties",
             "required", "additionalProperties", "items", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "title",
             "description", "default", "minProperties"}  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    if "$ref" in schema:
        yield from mistakes(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, key)
    if "anyOf" in schema:
        found = [list(mistakes(value, option, root, key)) for option in schema["anyOf"]]
        yield from [] if [] in found else max(found, key=len)
    if "if" in schema and list(mistakes(value, schema["if"], root)):
        yield from mistakes(value, schema["else"], root, key)
    right = isinstance(value, TYPES[schema["type"]]) if "type" in schema else True
    if not right or (isinstance(value, bool) and schema.get("type") in ("integer", "number")):
        yield f"{key}: no {schema['type']}"
        return
    limits = {"minimum": lambda v, n: v >= n, "maximum": lambda v, n: v <= n, "minProperties": lambda v, n: len(v) >= n,
              "exclusiveMinimum": lambda v, n: v > n, "exclusiveMaximum": lambda v, n: v < n,
              "minLength": lambda v, n: len(v) >= n, "minItems": lambda v, n: len(v) >= n, "const": lambda v, n: v is n,
              "enum": lambda v, n: v in n, "pattern": lambda v, n: re.search(n, v)}  # fmt: skip
    yield from (f"{key}: {word}" for word, holds in limits.items() if word in schema and not holds(value, schema[word]))
    if isinstance(value, dict):
        yield from (f"{name}: required" for name in schema.get("required", ()) if name not in value)
        others = schema.get("additionalProperties", True)
        for name, below in value.items():
            inner = schema.get("properties", {}).get(name, others)
            if inner is False:
                yield f"{name}: unknown"
            elif isinstance(inner, dict):
                yield from mistakes(below, inner, root, name)
    if isinstance(value, list):
        yield from (m for below in value for m in mistakes(below, schema.get("items", {}), root, key))
