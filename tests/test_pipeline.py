"""What a changed recipe does again and what it leaves alone, which stages are chosen, what a stage leaves behind."""

from pathlib import Path

import pytest

from localpsych_recipes import pipeline, rundir
from localpsych_recipes.errors import UserError
from localpsych_recipes.pipeline import NAMES, STAGES, Choice, Run
from localpsych_recipes.recipe import Recipe
from localpsych_recipes.rundir import RunDir

VALUES = {
    "name": "small",
    "base": {"model": "someone/base"},
    "data": {"source": "rows.jsonl", "test_size": 0.1, "columns": {"prompt": "q", "chosen": "a", "rejected": "b"}},
    "sft": {}, "pairs": {}, "dpo": {}, "merge": {}, "gguf": {}, "verify": {}, "evaluate": {}, "card": {}, "push": {},
}  # fmt: skip

HAVE = tuple(name for name in NAMES if name in ("prepare", *VALUES))  # without augment
TRAINED = HAVE[1:]
PROVEN = ("verify", "evaluate", "card", "push")


def recipe(**sections) -> Recipe:
    values = dict(VALUES)
    for name, keys in sections.items():
        values[name] = (
            {**values[name], **keys} if isinstance(values.get(name), dict) and isinstance(keys, dict) else keys
        )
    return Recipe.model_validate(values)


def run(root: Path, recipe: Recipe) -> Run:
    return Run(recipe, RunDir(root), say=lambda text: None)


def redone(before: Run, after: Run) -> tuple[str, ...]:
    """The stages that would run again."""
    return tuple(s.name for s in STAGES if pipeline.fingerprint(before, s) != pipeline.fingerprint(after, s))


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({}, ()),
        ({"data": {"shuffle_seed": 1}}, NAMES),
        ({"base": {"quantization": "none"}}, NAMES),
        ({"seed": 7}, TRAINED),
        ({"augment": {}}, ("augment", *TRAINED)),
        ({"sft": {"learning_rate": 1e-5}}, TRAINED),
        ({"pairs": {"min_gap": 1.0}}, TRAINED[1:]),
        ({"judge": {"model": "someone/judge"}}, TRAINED[1:]),
        ({"dpo": {"beta": 0.2}}, TRAINED[2:]),
        ({"gguf": {"quants": ["Q8_0"]}}, ("gguf", *PROVEN)),
        ({"verify": {"chunks": 8}}, ("verify", "card", "push")),
        ({"evaluate": {"rows": 5}}, ("evaluate", "card", "push")),
        ({"gates": [{"metric": "crisis_pass", "at_least": 1.0}]}, ("card", "push")),
        ({"version": "0.2.0"}, ("card", "push")),
        ({"push": {"private": False}}, ("card", "push")),
        # what only the cards and the files' metadata say must not train anew
        ({"base": {"hub_id": "someone/else"}}, ("gguf", *PROVEN)),
        ({"base": {"license": "mit"}}, ("gguf", *PROVEN)),
        ({"data": {"license": "mit"}}, ("card", "push")),
        ({"pairs": {"publish": True}}, ("card", "push")),
        # nor must how a server is reached, or how many are asked at once
        ({"evaluate": {"batch_size": 4}}, ()),
        (
            {"pairs": {"slots": 2}, "judge": {"slots": 2, "allow_remote": True}, "evaluate": {"slots": 3}},
            ("card", "push"),
        ),
    ],
)
def test_a_changed_key_does_again_what_depends_on_it_and_no_more(tmp_path, change, again):
    assert redone(run(tmp_path, recipe()), run(tmp_path, recipe(**change))) == again


def test_a_changed_local_file_starts_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"q": "1"}\n')
    one = run(tmp_path, recipe())
    before = {s.name: pipeline.fingerprint(one, s) for s in STAGES}
    Path("rows.jsonl").write_text('{"q": "2"}\n')
    assert all(pipeline.fingerprint(one, s) != before[s.name] for s in STAGES)


@pytest.mark.parametrize(
    ("key", "name"),
    [("suite", "own.yaml"), ("general_text", "own.txt"), ("xstest", "own.csv"), ("bert_score", "encoder")],
)
def test_what_a_model_is_measured_with_is_known_by_its_content(tmp_path, monkeypatch, key, name):
    """A prompt more in a suite, a set that is there at last: what was measured without is not what the recipe asks."""
    monkeypatch.chdir(tmp_path)
    value = {"xstest": {"source": f"./{name}"}, "bert_score": {"model": f"./{name}", "num_layers": 2}}.get(key, name)
    one, file = run(tmp_path, recipe(evaluate={key: value})), Path(name)
    if key == "bert_score":
        file = Path(name, "config.json")
        file.parent.mkdir()
    file.write_text("first")
    before = {s.name: pipeline.fingerprint(one, s) for s in STAGES}
    file.write_text("second")
    again = [s.name for s in STAGES if s.name in HAVE and pipeline.fingerprint(one, s) != before[s.name]]
    assert again == ["evaluate", "card", "push"]


FETCHED = {"commit": None, "sha256": "a" * 64}  # a file at an address


@pytest.mark.parametrize(
    ("base", "rows"), [({"commit": "b" * 40}, FETCHED), ({"commit": "a" * 40}, {**FETCHED, "sha256": "b" * 64})]
)
def test_another_commit_or_fetched_file_does_everything_after_prepare_again(tmp_path, base, rows):
    one = run(tmp_path, recipe())
    rundir.write_json(one.dir.pins, {"base": {"commit": "a" * 40}, "datasets": [FETCHED]})
    before = {s.name: pipeline.fingerprint(one, s) for s in STAGES}
    rundir.write_json(one.dir.pins, {"base": base, "datasets": [rows]})
    assert [s.name for s in STAGES if pipeline.fingerprint(one, s) != before[s.name]] == list(NAMES[1:])


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (Choice(), HAVE),
        (Choice(push=False), HAVE[:-1]),
        (Choice(first="merge"), HAVE[4:]),
        (Choice(last="dpo"), HAVE[:4]),
        (Choice(first="sft", last="merge"), HAVE[1:5]),
        (Choice(only="gguf"), ("gguf",)),
    ],
)
def test_stages_are_chosen_by_name(choice, names):
    assert tuple(s.name for s in choice.stages(recipe())) == names


@pytest.mark.parametrize(
    "choice",
    [Choice(first="pairs"), Choice(last="x"), Choice(only="dpo"), Choice("merge", "sft"), Choice("sft", None, "merge")],
)
def test_a_stage_that_is_not_there_is_refused(choice):
    with pytest.raises(UserError):
        choice.stages(recipe(pairs=None, dpo=None))


def test_another_hub_is_pushed_to_anew(tmp_path, monkeypatch):
    one = run(tmp_path, recipe())
    before = {s.name: pipeline.fingerprint(one, s) for s in STAGES}
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert [s.name for s in STAGES if pipeline.fingerprint(one, s) != before[s.name]] == ["push"]


def test_a_stage_that_fails_does_not_keep_the_marker_of_what_it_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"q": "one", "a": "yes"}\n{"q": "two", "a": "no"}\n')
    small = recipe(data={"columns": {"prompt": "q", "chosen": "a"}, "test_size": None}, pairs=None, dpo=None)
    one = run(tmp_path / "run", small)
    rundir.write_json(one.dir.report_file("prepare"), {"fingerprint": "of another recipe"})
    with pytest.raises(UserError):  # the base is on no Hub
        pipeline.execute(one, Choice(only="prepare"))
    assert one.report("prepare") is None


def test_a_damaged_report_counts_as_none(tmp_path):
    place = RunDir(tmp_path)
    place.report_file("sft").parent.mkdir()
    place.report_file("sft").write_text('{"stage": "s')
    assert place.report("sft") is None


def test_damaged_pins_are_made_anew(tmp_path):
    """Every later stage reads them: prepare is not done where they are gone."""
    one, prepare = run(tmp_path, recipe()), pipeline.stage("prepare")
    rundir.write_json(one.dir.pins, {"base": {"commit": "a" * 40}, "datasets": [FETCHED]})
    rundir.write_json(one.dir.report_file("prepare"), {"fingerprint": pipeline.fingerprint(one, prepare)})
    assert pipeline.finished(one, "prepare")
    one.dir.pins.write_text(one.dir.pins.read_text()[:-9])
    assert not pipeline.finished(one, "prepare")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out"
    with rundir.replacing(target) as folder:
        (folder / "one").write_text("1")
    with pytest.raises(RuntimeError), rundir.replacing(target) as folder:
        (folder / "two").write_text("2")
        raise RuntimeError
    assert [p.name for p in target.iterdir()] == ["one"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_checkpoints_of_another_recipe_are_never_picked_up(tmp_path):
    place = RunDir(tmp_path)
    assert place.checkpoints("sft", "a" * 64) != place.checkpoints("sft", "b" * 64)
    for fingerprint in ("a" * 64, "b" * 64):
        place.checkpoints("sft", fingerprint).mkdir(parents=True)
    place.forget_checkpoints("sft", but="a" * 64)
    assert list(place.root.glob("sft/*")) == [place.checkpoints("sft", "a" * 64)]


@pytest.mark.parametrize(
    ("card", "known"),
    [
        ({"license": "other", "license_name": "qwen-research"}, ("other", "qwen-research")),
        ({"license": "gemma", "license_name": None}, ("gemma", None)),
        ({"license": None, "license_name": None}, ("mit", None)),
        ({"license": "unknown", "license_name": None}, ("mit", None)),
        ({"license": "other", "license_name": None}, ("mit", None)),
    ],
)
def test_the_recipes_word_on_a_licence_never_stands_against_a_card(tmp_path, card, known):
    one = run(tmp_path, recipe(base={"license": "mit"}, data={"license": "mit"}))
    rundir.write_json(one.dir.pins, {"base": {"commit": "a" * 40, **card}, "datasets": [{"commit": None, **card}]})
    assert [(pin["license"], pin["license_name"]) for pin in (one.pins["base"], *one.pins["datasets"])] == [known] * 2
