"""A judge with planted opinions of planted answers: what comes out is what was counted by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from localpsych_recipes.errors import UserError
from localpsych_recipes.evaluation import judged, judging, row
from localpsych_recipes.evaluation.measured import Skipped
from localpsych_recipes.evaluation.verdicts import NOTHING, chosen, conversations
from localpsych_recipes.judge import calibration
from localpsych_recipes.recipe import Pairs
from tests.families import bases
from tests.planted_answers import HELD_OUT, SECRET, answer, bench, measured, values
from tests.scripted_judge import listening

SUITE = tuple(f"suite/{id}" for id in ("calm-1", "calm-2", "calm-3", "danger-1", "danger-2", "drink-1"))


def by_its_number(question: str, reply: str, place: str) -> Any:
    """The number in the reply, 3 without one; "harm" is flagged; of what mumbles, nothing that can be read."""
    found = re.search(r"\d+", reply)
    flags = {"diagnosis": "harm" in reply, "claims_human": "harm twice" in reply}
    return "Well, well." if "mumble" in reply else {"*": int(found[0]) if found else 3, **flags}


def refusing(request: dict[str, Any], before: int) -> str | None:
    return "400" if "> gone" in json.dumps(request) else None


def held_out(made) -> list[str]:
    return [id for id in conversations(made) if id.startswith("held-out/")]


def test_every_criterion_has_the_judges_score_of_every_answer_that_it_could_read(tmp_path):
    with listening(score=by_its_number, mishap=refusing) as server:
        made = bench(tmp_path, {"server": server.url}, ("base", "Q4_K_M"), criteria={"warmth": "w", "sense": "s"})
        answer(made, "base", dict(zip(SUITE, ["0", "1", "mumble", "gone", "4", "5"], strict=True)))
        answer(made, "Q4_K_M", {SUITE[0]: "2", SUITE[1]: None, SUITE[2]: "5"})
        found = measured(made)
    for criterion in ("judge_warmth", "judge_sense"):
        assert values(found[criterion, "base"]) == {SUITE[0]: 0, SUITE[1]: 1, SUITE[4]: 4, SUITE[5]: 5}
        assert values(found[criterion, "Q4_K_M"]) == {SUITE[0]: 2, SUITE[2]: 5}
    said = "1 of 6 verdicts could not be read; 1 of 6 verdicts were refused by the judge's server"
    assert found["judge_warmth", "base"].how == said and not found["judge_warmth", "Q4_K_M"].how
    assert found["judge_warmth", "base"].clusters["suite/danger-1"] == "bridge"
    told = row(found["judge_warmth", "base"], found["judge_warmth", "Q4_K_M"], seed=1, resamples=100)
    assert (told["value"], told["n"], told["difference"]["value"]) == (2.5, 4, -2)  # 0 - 2, of the one that both have


def test_the_judge_is_shown_what_the_model_was_asked_and_that_there_is_no_answer_where_there_is_none(tmp_path):
    with listening(score=by_its_number) as server:
        made = bench(tmp_path, {"server": server.url}, ("base",))
        made.answers["base"] = {}
        answer(made, "base", {"suite/danger-1": "5"})
        made.answers["base"]["suite/calm-1"] = replace(made.answers["base"]["suite/danger-1"], text=" \n")
        measured(made)
        seen = [request["messages"][0]["content"] for request in server.requests]
    assert any("> I say danger-1." in text and f"> 5 {SECRET}" in text for text in seen)
    assert any("> I say calm-1." in text and f"> {NOTHING}" in text for text in seen)


def test_harm_is_looked_for_in_every_answer_to_the_suite_however_few_are_scored(tmp_path):
    with listening(score=by_its_number) as server:
        made = bench(tmp_path, {"server": server.url}, ("sft",), judged_prompts=1)
        answer(made, "sft", dict.fromkeys(SUITE, "5") | {SUITE[1]: "harm twice", SUITE[5]: "harm"})
        answer(made, "sft", dict.fromkeys(held_out(made), "harm"))
        found = measured(made)
    assert values(found["judge_harm", "sft"]) == dict.fromkeys(SUITE, 0) | {SUITE[1]: 1, SUITE[5]: 1}
    assert found["judge_harm", "sft"].how == "diagnosis 2, claims human 1"
    assert len(found["judge_warmth", "sft"].items) == 1


def test_wins_are_counted_in_both_orders_against_the_base_and_against_sft(tmp_path):
    with listening(score=by_its_number) as server:
        made = bench(tmp_path, {"server": server.url})
        ids = [*SUITE, *held_out(made)]
        answer(made, "base", dict.fromkeys(ids, "3"))
        answer(made, "sft", dict.fromkeys(ids, "3 too") | {ids[0]: None})
        numbers = ["5", "5", "5", "3 too", "3 too", "1", "5", "5", "3 too", "1"]
        answer(made, "dpo", dict(zip(ids, numbers, strict=True)))
        found = measured(made)
    won = found["win_rate_base", "dpo"]
    assert [value for value in values(won).values()].count(1) == 5
    assert sum(values(won).values()) / 10 == 0.65  # 5 wins, 3 ties, 2 losses
    assert won.how.startswith(
        "5 won, 3 tied, 2 lost; the two orders disagree in 0, and what stands first gets +0.00 points;"
    )
    assert set(values(found["win_rate_base", "sft"]).values()) == {0.5}
    without_the_first = found["win_rate_sft", "dpo"]
    assert without_the_first.how.startswith("4 won, 3 tied, 2 lost;") and len(without_the_first.items) == 9
    assert ("win_rate_base", "base") not in found


def test_a_judge_that_likes_whatever_stands_first_gives_ties_and_is_found_out(tmp_path):
    with listening(score=lambda question, reply, place: {"A": 9, "B": 2, "": 4}[place]) as server:
        made = bench(tmp_path, {"server": server.url}, ("base", "dpo"))
        answer(made, "base", dict.fromkeys(SUITE, "one"))
        answer(made, "dpo", dict.fromkeys(SUITE, "another"))
        found = measured(made)
    assert values(found["win_rate_base", "dpo"]) == dict.fromkeys(SUITE, 0.5)
    said = "0 won, 6 tied, 0 lost; the two orders disagree in 6, and what stands first gets +7.00 points;"  # 9 less 2
    assert said in found["win_rate_base", "dpo"].how
    trials = made.about["judge"]["calibration"]
    assert [trials[name]["kept"] for name in ("clean", "padding", "violations", "harmless")] == [0, 10, 0, 10]
    assert [line for line in made.said if "warning" in line] == [f"      warning: {w}" for w in trials["warnings"]]
    assert len(trials["warnings"]) == 2 and "in 0 of 10 fixed items, where 90 % is wanted" in trials["warnings"][0]


def test_the_rate_among_answers_of_like_length_is_said_beside_the_whole_one(tmp_path):
    with listening(score=by_its_number) as server:
        made = bench(tmp_path, {"server": server.url}, ("base", "sft"))
        answer(made, "base", dict.fromkeys(SUITE, "3 it's so long"))  # five words, with the secret one
        texts = ["5 of five words", "1 of four", "5 short", "5 and seven words there now", "5 of six words now", None]
        answer(made, "sft", dict(zip(SUITE, texts, strict=True)))
        found = measured(made)["win_rate_base", "sft"]
    assert sum(values(found).values()) == 4
    # 5 to 5, 4 to 5 and 6 to 5 are alike, of which the first and the last are won; 3 to 5 and 7 to 5 are not
    assert found.how.endswith("at most a fifth fewer words than the other: 0.667 of 3")


def test_prompts_are_spread_over_categories_and_held_out_rows_crisis_first(tmp_path):
    made = bench(tmp_path, {}, judged_prompts=6)
    first = chosen(made)
    assert [id.split("/")[0] for id in first] == ["suite", "held-out"] * 3
    assert [id.split("/")[1].split("-")[0] for id in first[::2]] == ["danger", "calm", "drink"]
    everything = chosen(bench(tmp_path / "more", {}, judged_prompts=99))
    assert everything[:6] == first and sorted(everything) == sorted([*SUITE, *held_out(made)])
    assert len(held_out(made)) == HELD_OUT


def well_read(question: str, reply: str, place: str) -> Any:
    """What a careful reader says of the fixed items."""
    items = calibration._items()
    good = {item["good"] for item in items["clean"]} | {item["plain"] for item in items["padding"]}
    return {"*": 8 if reply in good else 4, "diagnosis": any(reply == item["reply"] for item in items["violations"])}


@pytest.mark.parametrize(
    ("score", "kept", "below"),
    [
        (well_read, [10, 10, 10, 10], []),
        (lambda question, reply, place: {"*": len(reply) % 10, "diagnosis": True}, [None, None, 10, 0], ["unflagged"]),
        (lambda question, reply, place: min(10, len(reply) // 60), [None, 0, 0, 10], ["filler", "none may do"]),
        (lambda question, reply, place: "Hm.", [0, 0, 0, 0], ["unequal", "filler", "none may do", "unflagged"]),
    ],
    ids=["a careful judge", "flags all", "likes length", "says nothing"],
)
def test_the_judge_is_tried_on_fixed_items_and_what_it_is_worth_is_reported(tmp_path, score, kept, below):
    with listening(score=score) as server:
        made = bench(tmp_path, {"server": server.url}, ("base",))
        measured(made)
    trials = made.about["judge"]["calibration"]
    for name, count in zip(calibration.TRIALS, kept, strict=True):
        assert count is None or trials[name]["kept"] == count
    assert all(any(words in warning for warning in trials["warnings"]) for words in below)
    # Wilson's lower end of n of n is n / (n + 1.96^2)
    assert kept[0] != 10 or trials["clean"]["low"] == pytest.approx(10 / (10 + 1.959964**2))
    assert kept[0] != 10 or not trials["warnings"]


def test_the_fixed_items_are_what_they_are_said_to_be():
    items = calibration._items()
    assert {name: len(of) for name, of in items.items()} == {"clean": 10, "padding": 10, "violations": 10}
    assert {item["does"] for item in items["violations"]} == set(judged.HARM.vetoes)
    assert all(len(item["padding"].split()) > 1.5 * len(item["plain"].split()) for item in items["padding"])
    assert not re.search(r"\d", json.dumps(items))


def test_nobody_is_asked_twice_and_no_text_is_reported(tmp_path):
    with listening(score=by_its_number) as server:
        made = bench(tmp_path, {"server": server.url})
        for column in ("base", "sft", "dpo"):
            answer(made, column, {id: f"4 of {column}" for id in SUITE})
        first, about = measured(made), made.about.pop("judge")
        asked = server.asked.total()
        assert measured(made) == first and made.about["judge"] == about and server.asked.total() == asked
    assert (about["model"], about["engine"], about["where"], about["same_family"]) == ("sage", "server", "local", None)
    assert about["unparsed"] == about["retried"] == 0
    reported = repr([about, made.said, [(one.how, one.items) for one in first.values()]])
    kept = "".join(file.read_text() for file in made.work.rglob("*") if file.is_file())
    assert SECRET not in reported + kept and "I say" not in reported + kept


def test_the_judge_of_the_pairs_stage_judges_here_too(tmp_path):
    with listening(score=by_its_number) as server:
        made = bench(tmp_path, {"server": server.url}, ("base",))
        made.run.recipe = made.run.recipe.model_copy(update={"pairs": Pairs()})
        measured(made)
    assert json.loads((made.run.dir.pairs / "judge.json").read_text())["model"] == "sage"
    assert not (made.work / "judge.json").exists()


def test_a_judge_of_the_bases_family_is_refused_before_it_is_asked(tmp_path):
    with listening(score=by_its_number, model="llama-3-8b-instruct") as server:
        made = bench(tmp_path, {"server": server.url}, ("base",))
        with pytest.raises(UserError, match="own family"):
            measured(made)
        with pytest.raises(UserError, match="own family"):
            judging.check(made.run.recipe)
        assert not server.requests


def test_without_a_judge_the_report_says_so(tmp_path):
    made = bench(tmp_path, {}, judge=False)
    (skipped,) = judging.measure(made)
    assert skipped == Skipped("judge", "evaluate.judge is not set") and not judging.asks(made) and not made.about


def test_a_real_model_judges_in_this_process(tmp_path, one_thread):
    base = bases.BASES["qwen3"]
    small = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "head_dim": 16,
        "num_hidden_layers": 1,
        "max_position_embeddings": 4096,
    }
    model = bases.make(replace(base, settings={**base.settings, **small}), tmp_path / "judge")
    by = {"model": str(model), "quantization": "none", "batch_size": 32}
    made = bench(tmp_path, by, ("base", "sft"))
    answer(made, "base", {SUITE[0]: "I hear you."})
    answer(made, "sft", {SUITE[0]: "That sounds hard."})
    found = measured(made)
    scores = [value for name in ("base", "sft") for value in values(found["judge_warmth", name]).values()]
    assert len(scores) == 2 and all(score in range(6) for score in scores)
    assert values(found["win_rate_base", "sft"]).keys() == {SUITE[0]}
    assert made.about["judge"]["engine"] == "transformers" and made.about["judge"]["unparsed"] == 0
