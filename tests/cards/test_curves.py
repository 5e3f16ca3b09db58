"""The picture of training: drawn from what the trainers logged, the same each time, and shown by the cards."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from finished_run import KINDS, OWNER, cards, finished_run, logged
from matplotlib.image import imread

from localpsych_recipes import rundir
from localpsych_recipes.cards import curves


def size(png: bytes) -> tuple[int, int]:
    height, width = imread(BytesIO(png)).shape[:2]
    return width, height


def test_each_model_shows_the_curves_of_its_training(tmp_path: Path) -> None:
    run = finished_run(tmp_path, OWNER)
    logged(run)
    for kind, text in cards(run).items():
        assert "\n![Loss and rewards over the steps" in text and "](curves.png)" in text
        png = (run.dir.release(kind) / "curves.png").read_bytes()
        assert size(png) == (1200, 900)  # two rows of two panels
    assert png == curves.draw(run)


def test_sft_alone_is_one_panel_and_other_numbers_another_picture(tmp_path: Path) -> None:
    run = finished_run(tmp_path, OWNER, "dpo=false")
    logged(run)
    one = curves.draw(run)
    entries = rundir.read_json(run.dir.history("sft"))["entries"]
    rundir.write_json(run.dir.history("sft"), {"entries": entries[:-1]})
    assert size(one) == (1200, 450) and one != curves.draw(run)


def test_without_logs_there_is_no_picture_and_none_is_shown(tmp_path: Path) -> None:
    run = finished_run(tmp_path, OWNER)
    assert curves.draw(run) is None
    for kind, text in cards(run).items():
        assert kind in KINDS and "curves.png" not in text and not (run.dir.release(kind) / "curves.png").exists()
