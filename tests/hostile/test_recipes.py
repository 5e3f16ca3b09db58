"""A recipe of a stranger's is a Recipe or one message: never another exception, a file of this machine, or code that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localpsych_recipes import recipe_file
from localpsych_recipes.errors import UserError, visible
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.recipe_file import yaml_text
from localpsych_recipes.recipe_file.extending import foreign_places
from localpsych_recipes.recipe_file.limits import MOST
from localpsych_recipes.resources import resource

PLAIN = """name: calm
base: {model: alice/base}
data: {source: alice/rows, columns: {prompt: question, response: answer}}
sft:
"""
SHIPPED = [path.read_text(encoding="utf-8") for path in sorted(resource("recipes").glob("*.yaml"))]
BITS = ("extends: demo", "!!python/name:os.system x", "&a [*a]", "? [a, b]\n: c", "<<: {r: 8}", "\ud800", "\0", '"\\e[31m"',
        "!!int ''", "1: 2", "[" * 50, "{a: " * 50, "9" * 5000, "~nobody/x", "/etc/passwd", "../../x", "a" * 300, "\u202e",
        "%YAML 1.1\n---", "---", "lora: {target_modules: 'a{99999999999}'}", "0x" + "f" * 5000, "2020-13-45", "-")  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(BITS),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("recipes") / "recipe.yaml"


def read(place: Path, text: str) -> Recipe | None:
    """What comes of a text: a recipe that is written and read again as it is, or one message that drives no terminal."""
    place.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        made = recipe_file.load(place)
    except UserError as error:
        assert visible(str(error), keep="\n") == str(error)
        return None
    finally:
        assert [file.name for file in place.parent.iterdir()] == [place.name]
    place.write_text(recipe_file.dump(made), encoding="utf-8")
    assert recipe_file.load(place) == made
    return made


@given(text=st.text() | st.lists(st.sampled_from((*BITS, PLAIN, "\n", ": ", "- ", "  ")), max_size=6).map("".join))
@example(text=PLAIN + "? [a, b]\n: c\n")
@example(text=PLAIN + 'version: !!int ""\n')
@example(text=PLAIN + '"\\e[31mred": 1\n')
@example(text=PLAIN + 'description: "\\ud800"\n')
@example(text=f"extends: {'a' * 300}\nname: x\n")
@example(text=PLAIN + f"lora: {{target_modules: '{'(' * 5000}'}}\n")
@example(text=PLAIN + "lora: {target_modules: 'a{99999999999}'}\n")
@example(text=PLAIN + f"dpo:\npairs: {{rubric: '{{{{ answer {'(' * 3000}'}}\n")
@example(text=PLAIN + "seed: 0x" + "f" * 5000 + "\n")
@example(text=PLAIN.replace("alice/base", '"~nobody-of-that-name/x"'))
def test_any_text_is_a_recipe_or_one_message(place, text) -> None:
    read(place, text)


@settings(max_examples=settings().max_examples // 2)  # a recipe is long to read, and is read up to three times
@given(data=st.data())
def test_a_shipped_recipe_changed_anywhere_is_a_recipe_or_one_message(place, data) -> None:
    text = data.draw(st.sampled_from(SHIPPED))
    values = yaml_text.value(text)
    target = values
    while isinstance(target, dict) and target:
        holder, key = target, data.draw(st.sampled_from(sorted(target)))
        target = holder[key]
        if data.draw(st.booleans()):
            break
    holder[data.draw(st.just(key) | st.text(max_size=10))] = data.draw(VALUES)
    try:
        text = json.dumps(values, ensure_ascii=data.draw(st.booleans()))  # JSON is YAML
    except (ValueError, TypeError):
        return
    read(place, text)


IN_LITTLE_MEMORY = """
import resource, sys
from localpsych_recipes import recipe_file, suites
from localpsych_recipes.errors import UserError
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
for reader in (recipe_file.load, suites.load):
    try:
        reader(sys.argv[1])
    except UserError as error:
        print(str(error).splitlines()[-1])
"""
BOMBS = {
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)),
    "brackets": "a: " + "[" * 400_000,
    "entries": "a:\n" + "- {}\n" * (2 * MOST),
    "megabytes": "a: " + "x" * 40_000_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_in_half_a_gigabyte_by_every_reader_of_yaml(tmp_path, bomb) -> None:
    (tmp_path / "bomb.yaml").write_text(BOMBS[bomb])
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(tmp_path / "bomb.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("do: ")) == (0, 2), done.stderr[-2000:]


def test_a_device_that_never_ends_is_no_recipe() -> None:
    with pytest.raises(UserError, match="more than 1 MB"):
        recipe_file.load("/dev/zero")


@pytest.mark.parametrize("name", ["../../x", "/x", "''", "x" * 300, '"a\\nb"', '"a\\0b"', "-x", ".x", "a/b", "'CON:'"])
def test_a_name_that_leads_elsewhere_is_none(place, name) -> None:
    assert read(place, PLAIN.replace("calm", name)) is None
    assert read(place, PLAIN + f"evaluate: {{reference: {{name: {name}, server: 'http://127.0.0.1:1/v1'}}}}\n") is None
    assert read(place, PLAIN + f"merge:\ngguf: {{quants: [{name}]}}\n") is None


@pytest.mark.parametrize("hidden", ["~/.ssh/id_rsa", "/home/a/.aws/credentials", ".env", "../.netrc"])
def test_hidden_files_are_no_rows_prompts_or_suites(place, hidden) -> None:
    assert read(place, PLAIN.replace("alice/rows", hidden)) is None
    for key in (f"suite: {hidden}", f"xstest: {{source: {hidden}}}", f"general_text: {hidden}"):
        assert read(place, PLAIN + f"evaluate: {{{key}}}\n") is None


@pytest.mark.parametrize("name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PATH"])
def test_no_other_secret_is_sent_to_a_server_as_its_key(place, name) -> None:
    assert (
        read(place, PLAIN + f"judge: {{server: 'https://evil.example/v1', allow_remote: true, api_key_env: {name}}}")
        is None
    )


@pytest.mark.parametrize("task", ["task.yaml", "./task.YML", "tasks/choose"])
def test_a_task_s_file_is_code_and_runs_only_where_the_recipe_says_so(place, task) -> None:
    assert read(place, PLAIN + f"evaluate: {{lm_eval: [{task}]}}\n") is None
    assert read(place, PLAIN + f"evaluate: {{lm_eval: [{task}], trust_remote_code: true}}\n")


FOREIGN = """base: {model: ./base}
data: {mixture: [{source: ./rows.csv}, {source: alice/rows}]}
evaluate: {suite: mental-health, lm_eval: [arc_easy]}
"""


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "~/rows.csv", "../rows.csv", "./a/rows.csv", "a/../../rows.csv", "./..", "a/rows.csv"]
)
def test_a_recipe_on_the_hub_names_no_file_but_those_beside_whoever_runs_it(path) -> None:
    assert not list(foreign_places(yaml_text.parse("hf://a/b", 1, FOREIGN)))
    for known in ("./base", "./rows.csv", "mental-health", "arc_easy"):
        document = yaml_text.parse("hf://a/b", 1, FOREIGN.replace(known, path))
        assert [problem.count(": a path;") for problem in foreign_places(document)] == [1]


def test_the_many_mistakes_of_a_file_that_is_no_recipe_are_counted(place) -> None:
    place.write_text(PLAIN + "".join(f"key{number}: 1\n" for number in range(2000)))
    with pytest.raises(UserError, match="more\n") as refused:
        recipe_file.load(place)
    assert len(str(refused.value).splitlines()) < 30
