"""`localpsych pairs RUN` shows what became of candidates, in this terminal and nowhere else."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from localpsych_recipes import cli
from localpsych_recipes.pairs import browse

CHECKOUT = Path(__file__).resolve().parents[2]
SCORES = {"chosen": {"warmth": 8.0, "validation": 7.0}, "rejected": {"warmth": 3.5, "validation": 6.0}}
NONE = {"chosen": [], "rejected": []}


def candidate(
    number: int, status: str, split="train", degraded=None, scores=None, vetoes=None, gap=None, **texts
) -> dict:
    place = {"split": split, "prompt_number": number, "candidate": 0, "status": status, "degraded": degraded}
    prompt = [
        {"role": "system", "content": "Listen."},
        {"role": "user", "content": texts.get("prompt", f"ask {number}")},
    ]
    answers = {"chosen": texts.get("chosen", f"good {number}"), "rejected": texts.get("rejected", f"bad {number}")}
    return {**place, "prompt": prompt, **answers, "scores": scores, "vetoes": vetoes, "gap": gap}


CANDIDATES = [
    candidate(0, "kept", scores=SCORES, vetoes=NONE, gap=2.75),
    candidate(1, "vetoed", scores=SCORES, vetoes={"chosen": ["unsafe"], "rejected": []}, gap=2.75),
    candidate(2, "cut_off", degraded="truncate"),
    candidate(0, "kept", split="test", scores=SCORES, vetoes=NONE, gap=2.75),
    candidate(1, "cut_off", split="test"),
]


def written(folder: Path, candidates: list[dict]) -> Path:
    (folder / "pairs").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("name: kind\n")
    lines = [json.dumps(one) + "\n" for one in candidates]
    (folder / "pairs" / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return written(tmp_path / "run", CANDIDATES)


def shown(capsys, *arguments: object) -> str:
    assert cli.main(["pairs", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def numbers(text: str) -> list[str]:
    return [line.strip("- ") for line in text.splitlines() if line.startswith("----")]


def test_a_page_holds_the_conversation_both_answers_and_the_verdict(run, capsys):
    out = shown(capsys, run, "--status", "vetoed")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows[0].startswith("---- 2 of 5 ---")
    assert rows[1:9] == [
        "train, prompt 1, candidate 0",
        "vetoed: its chosen answer does what it must not",
        "gap 2.75",
        "chosen rejected",
        "warmth 8.0 3.5",
        "validation 7.0 6.0",
        "mean 7.5 4.8",
        "vetoed in chosen: unsafe",
    ]
    assert "\n".join(rows[9:]).strip() == "system:\nListen.\n\nuser:\nask 1\n\nCHOSEN:\ngood 1\n\nREJECTED:\nbad 1"


def test_all_candidates_come_in_order_or_those_that_are_asked_for(run, capsys):
    assert numbers(shown(capsys, run)) == [f"{number} of 5" for number in range(1, 6)]
    for asked, wanted in {
        "--status kept": [1, 4],
        "--status dropped": [2, 3, 5],
        "--status kept vetoed": [1, 2, 4],
        "--status cut_off --split test": [5],
        "--split train": [1, 2, 3],
        "--degraded truncate": [3],
    }.items():
        assert numbers(shown(capsys, run, *asked.split())) == [f"{number} of 5" for number in wanted], asked


def test_a_candidate_that_was_made_worse_says_how(run, capsys):
    assert "made worse, truncate: cut at 70 % of its words" in shown(capsys, run, "--degraded", "truncate")


def test_where_nothing_matches_that_is_said(run, capsys):
    assert shown(capsys, run, "--status", "tie") == "none of the 5 candidates\n"


def test_list_counts_and_shows_no_text(run, capsys):
    out = shown(capsys, run, "--list", "--split", "train")
    rows = [line.split()[:3] for line in out.splitlines()[1:]]
    assert rows == [["1", "33.3", "%"]] * 3 + [["3", "in", "all"]]
    assert [line.split()[3] for line in out.splitlines()[1:4]] == ["cut_off", "vetoed", "kept"]
    assert "good" not in out and "Listen" not in out


def test_a_strangers_text_does_not_drive_the_terminal(tmp_path, capsys):
    escape, bidi, eight_bit = "\x1b]0;title\x07\x1b[2J", "\u202egnp\u2066", "\x9b31m"
    tags, lone, line_end = "\U000e0041", "\ud800", "\u2028\r"
    hostile = candidate(
        0, "kept", prompt=escape + "\n" + bidi, chosen=eight_bit + tags, rejected=lone + line_end + "\x08\x7f\xad"
    )
    out = shown(capsys, written(tmp_path / "run", [hostile]))
    assert all(character.isprintable() or character == "\n" for character in out)
    for seen in ("<U+001B>]0;title<U+0007><U+001B>[2J\n<U+202E>gnp<U+2066>", "<U+009B>31m<U+E0041>", "<U+D800>"):
        assert seen in out


def test_text_of_every_script_stays_as_it_is(tmp_path, capsys):
    said = "Ça va ? 我很難過。\u3000مرحبا می\u200cخواهم 👩\u200d👧"
    assert said in shown(capsys, written(tmp_path / "run", [candidate(0, "kept", chosen=said)]))


def test_text_is_wrapped_to_the_terminal_and_keeps_its_paragraphs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = "one two three " * 20 + "\r\n\r\nanother paragraph"
    out = shown(capsys, written(tmp_path / "run", [candidate(0, "kept", chosen=text)]))
    assert max(map(len, out.splitlines())) == 40
    assert "three\n\nanother paragraph\n" in out


MISTAKES = {
    "a folder that is no run": (lambda run: (run / "recipe.yaml").unlink(), [], "a run directory"),
    "a run without pairs": (lambda run: (run / "pairs" / "pairs.jsonl").unlink(), [], "stage `pairs` is done"),
    "an empty file": (lambda run: (run / "pairs" / "pairs.jsonl").write_text(""), [], "is empty"),
    "a damaged file": (lambda run: (run / "pairs" / "pairs.jsonl").write_text('{"split": "tr'), [], "line 1: damaged"),
    "a status misspelt": (lambda run: None, ["--status", "vetod"], "did you mean vetoed?"),
    "an unknown way": (lambda run: None, ["--degraded", "shout"], "first_sentence"),
}


@pytest.mark.parametrize(("do", "arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_ends_in_one_message(run, capsys, do, arguments, said):
    do(run)
    assert cli.main(["pairs", str(run), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_pages_are_not_held_in_memory(tmp_path, monkeypatch):
    run = written(tmp_path / "run", [candidate(number, "kept", chosen="word " * 2000) for number in range(200)])
    size = (run / "pairs" / "pairs.jsonl").stat().st_size
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        tracemalloc.start()
        browse.show(run)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < size / 4


def on_a_terminal(run: Path, pager: str, *arguments: str) -> tuple[int, str]:
    """Exit status and what the terminal showed, with this shell script as the pager."""
    script = run.parent / "pager"
    script.write_text(f"#!/bin/sh\n{pager}\n")
    script.chmod(0o755)
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PAGER": f"{script} --an-option"}
    command = [sys.executable, "-m", "localpsych_recipes.cli", "pairs", str(run), *arguments]
    streams = {name: theirs for name in ("stdin", "stdout", "stderr")}
    done = subprocess.run(command, env=environment, cwd=run.parent, timeout=60, **streams)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # Linux says so at the end
        pass
    os.close(ours)
    return done.returncode, said.decode().replace("\r\n", "\n")


def test_on_a_terminal_a_pager_shows_them_keeps_nothing_and_owns_ctrl_c(run):
    before = sorted(run.rglob("*"))
    pager = 'echo "$1 $LESSHISTFILE $LESSSECURE"; kill -INT $PPID; exec cat'
    status, said = on_a_terminal(run, pager)
    first, pages = said.split("\n", 1)
    assert (status, first) == (0, "--an-option - 1")
    assert numbers(pages) == [f"{number} of 5" for number in range(1, 6)]
    assert sorted(run.rglob("*")) == before


def test_a_pager_or_a_pipe_may_be_left_early(tmp_path):
    run = written(tmp_path / "run", [candidate(number, "kept", chosen="word " * 200) for number in range(500)])
    assert on_a_terminal(run, "head -n 1")[0] == 0
    command = f"{sys.executable} -m localpsych_recipes.cli pairs {run} | head -n 1"
    done = subprocess.run(["sh", "-c", command], cwd=CHECKOUT, capture_output=True, text=True)
    assert (numbers(done.stdout), done.stderr) == (["1 of 500"], "")


def test_without_a_pager_of_ones_own_it_is_less_or_more(clean_path, monkeypatch):
    monkeypatch.setenv("PAGER", "no-such-pager")
    assert browse.pager() is None
    for name, command in (("more", ["more"]), ("less", ["less", "-R"])):
        (clean_path / name).write_text("#!/bin/sh\n")
        (clean_path / name).chmod(0o755)
        assert browse.pager() == command
