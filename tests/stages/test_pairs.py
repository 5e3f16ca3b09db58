"""The stage against a scripted model and a scripted judge: what is kept and dropped equals a count by hand."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from localpsych_recipes import machine, models, openai_server, rundir, training
from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import Answer
from localpsych_recipes.judge import Case
from localpsych_recipes.openai_server import connecting
from localpsych_recipes.pairs import STATUSES, candidates, storage
from localpsych_recipes.pipeline import Run
from localpsych_recipes.stages import pairs
from tests import small_run
from tests.families import bases
from tests.scripted_judge import Listener, listening

CHOSEN = [good for _, good, _ in small_run.ROWS]
SECRET = "lighthouse"  # stands in each sampled answer, and must stand in no message, line or result
CUT, REFUSED, NEARLY = "(cut off)", "(refused)", CHOSEN[1].replace("quiet now", "quiet today")

# Six prompts to train on and two held out, three candidates each: the answer, and what becomes of it. What the judge
# says is in SAID; of the chosen answers it says 9 where SAID has nothing else.
POINTWISE = {
    ("train", 0): [("seven", "kept"), ("three", "spare"), ("eight", "gap_below")],
    ("train", 1): [(CHOSEN[1], "identical"), (NEARLY, "near_identical"), ("nine", "tie")],
    ("train", 2): [("two", "kept"), ("two", "repeated"), ("", "empty")],
    ("train", 3): [(CUT, "cut_off"), (REFUSED, "ungenerated"), ("ten", "rejected_better")],
    ("train", 4): [("three", "vetoed"), ("ten", "vetoed"), ("mute", "unparsed")],  # chosen is unsafe
    ("train", 5): [("three", "unparsed"), ("two", "unparsed"), ("gone", "unjudged")],  # chosen is never readable
    ("test", 0): [("slow", "kept"), ("eight", "gap_below"), ("gone", "unjudged")],  # chosen at the second time
    ("test", 1): [("four", "spare"), ("six", "kept"), ("five", "spare")],
}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SCORE = {word: number for number, word in enumerate(NUMBERS)}
SAID: dict[str, list[Any]] = {  # the first time, the second time
    CHOSEN[4]: [{"*": 9, "unsafe": True}],
    CHOSEN[5]: ["I think it is an 8.", '{"acknowledgment": 8'],
    CHOSEN[6]: ['{"acknowledgment": 9', 9],
    "slow": ["Well,", 5],
    "mute": ["Well,", "Hm."],
}
COUNTED = {  # of the table above, by hand
    "ungenerated": 1, "empty": 1, "cut_off": 1, "identical": 1, "near_identical": 1, "repeated": 1, "unjudged": 2,
    "unparsed": 3, "vetoed": 2, "tie": 1, "rejected_better": 1, "gap_below": 2, "spare": 3, "kept": 4,
}  # fmt: skip

# Pairwise: what the judge says of the answer as B and as A, where it says 9 of chosen as A and 7 of it as B.
PAIRWISE = {
    ("train", 0): [((5, 3), "kept"), ((2, 2), "spare"), ((8, 6), "gap_below")],  # gaps 4, 6, 1: (9-8 + 7-6) / 2
    ("train", 1): [((6, 5), "spare"), ((7, 5), "kept"), ((10, 8), "rejected_better")],  # 2.5, 2, -1
    ("train", 2): [((8, 8), "tie"), ((9, 7), "tie"), ((9, 5), "tie")],  # 1 and -1, 0 and 0, 0 and 2
}


def small(folder: Path, url: str, **keys: Any) -> Run:
    """A run whose SFT is done, on a base of which a server needs the tokenizer alone."""
    if not (folder / "base").exists():
        bases.make_tokenizer("tinyllama", folder / "base")
        (folder / "base" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    sections = {"pairs": {"server": url, "candidates": 3, "min_pairs": 1}, "judge": {"server": url}}
    for section, values in keys.items():
        sections[section] = {**sections.get(section, {}), **values}
    made = small_run.run(folder / "run", small_run.recipe(folder / "base", **sections))
    adapter = made.dir.adapter("sft")
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"trained")
    made.lines = []
    made.say = made.lines.append
    return made


def again(run: Run, **keys: Any) -> Run:
    """The same run with other keys of its recipe."""
    for section, values in keys.items():
        section_of = getattr(run.recipe, section).model_copy(update=values)
        run.recipe = run.recipe.model_copy(update={section: section_of})
    return run


def planned(run: Run) -> list[candidates.Candidate]:
    return candidates.planned(storage.sft_rows(run.dir.data), run.recipe.pairs, run.recipe.seed)


def with_secret(text: str) -> str:
    return text if text in (*CHOSEN, NEARLY, "") else f"{text} {SECRET}"


class Script:
    """Writes and says what a table has for each candidate, known by its seed."""

    def __init__(self, table: dict[tuple[str, int], list[tuple[Any, str]]], said: dict[str, list[Any]]) -> None:
        self.table, self.said, self.by_seed = table, said, {}
        self.times: Counter[str] = Counter()

    def learn(self, run: Run) -> None:
        self.by_seed = {c.sampling.seed: self.table[c.of][c.candidate][0] for c in planned(run)}

    def write(self, prompt: Any, seed: int) -> tuple[str, bool]:
        text = self.by_seed[seed]
        return with_secret(text), text == CUT

    def score(self, question: str, answer: str, place: str) -> Any:
        word = answer.removesuffix(f" {SECRET}")
        said = self.said.get(word, [SCORE.get(word, 9)])
        self.times[word] += 1
        return said[min(self.times[word], len(said)) - 1]

    def mishap(self, request: dict[str, Any], before: int) -> str | None:
        """Each request fails once at first, in one of the ways that pass; some are refused for good."""
        if self.by_seed.get(request.get("seed")) == REFUSED or f"gone {SECRET}" in json.dumps(request):
            return "400"
        at = int(openai_server.digest(request)[:8], 16)
        return ("late", "429", "500", "503", "cut", "no json", None)[at % 7] if before == 0 else None


@contextmanager
def scripted(table=POINTWISE, said=SAID, mishaps: bool = False) -> Iterator[tuple[Script, Listener]]:
    script = Script(table, said)
    refusals = lambda request, before: script.mishap(request, 1)
    with listening(score=script.score, write=script.write, mishap=script.mishap if mishaps else refusals) as server:
        yield script, server


def statuses(run: Run) -> dict[tuple[str, int], list[str]]:
    found: dict[tuple[str, int], list[str]] = {}
    for row in storage.read(run.dir.pairs / "pairs.jsonl"):
        found.setdefault((row["split"], row["prompt_number"]), []).append(row["status"])
    return found


def of_the_table(table) -> dict[tuple[str, int], list[str]]:
    return {prompt: [status for _, status in of] for prompt, of in table.items()}


def made(run: Run) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(run.dir.pairs.glob("pairs*.jsonl"))}


def verdicts(server: Listener) -> int:
    return sum("messages" in request for request in server.requests)


def test_what_is_kept_tied_retried_and_dropped_equals_the_count_by_hand(tmp_path):
    with scripted() as (script, server):
        run = small(tmp_path, server.url)
        script.learn(run)
        results = pairs.run(run)
    assert statuses(run) == of_the_table(POINTWISE)
    assert {status: n for status, n in results["statuses"].items() if n} == COUNTED and set(COUNTED) <= set(STATUSES)
    assert (results["candidates"], results["prompts"]) == (24, {"train": 6, "test": 2})
    assert (results["pairs"], results["data_pairs"]) == ({"train": 2, "test": 2}, {"train": 6, "test": 2})
    # asked twice: chosen 5 and 6, "mute" and "slow"; unreadable twice: chosen 5 and "mute"
    assert (results["retried"], results["unparsed"], results["order_disagreements"]) == (4, 2, 0)
    assert results["retention"]["kept"] == 4 and results["retention"]["of"] == 8
    assert (results["engine"], results["judge"]["mode"], results["judge"]["same_family"]) == (
        "server",
        "pointwise",
        None,
    )
    assert "pairs for 4 of 8 prompts (50 %): 2 to train on, 2 held out" in "".join(run.lines)
    assert SECRET not in json.dumps(results) + "".join(run.lines)
    assert not (run.dir.pairs / "work").exists() and (run.dir.pairs / "report.txt").exists()


def test_dpo_learns_from_the_datas_own_pairs_and_then_from_those_that_were_kept(tmp_path):
    with scripted() as (script, server):
        run = small(tmp_path, server.url)
        script.learn(run)
        (run.dir.cache / "pairs" / "pairs_train").mkdir(parents=True)  # tokenised rows of an earlier recipe
        run.dir.pairs.mkdir()
        (run.dir.pairs / "pairs_train.jsonl.7.partial").write_text("half a")  # of a run that was killed
        pairs.run(run)
    assert not (run.dir.cache / "pairs").exists() and not list(run.dir.pairs.glob("*.partial"))
    rows = training.rows(run, "pairs", "train").to_list()
    said = [(row["prompt"][0]["content"], row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]
    assert said[:6] == small_run.ROWS[:6]
    assert said[6:] == [(*small_run.ROWS[n][:2], f"{word} {SECRET}") for n, word in ((0, "seven"), (2, "two"))]
    assert {m["role"] for row in rows for m in row["chosen"] + row["rejected"]} == {"assistant"}
    assert len(training.rows(run, "pairs", "test")) == 2 + 2


def test_scores_vetoes_and_gaps_stand_beside_each_judged_candidate(tmp_path):
    with scripted() as (script, server):
        run = small(tmp_path, server.url)
        script.learn(run)
        pairs.run(run)
    rows = {(r["split"], r["prompt_number"], r["candidate"]): r for r in storage.read(run.dir.pairs / "pairs.jsonl")}
    assert len(rows) == 24 and list(rows) == sorted(rows, key=lambda key: (key[0] == "test", key))
    names = list(run.recipe.pairs.criteria)
    kept, vetoed, cut = rows["train", 0, 0], rows["train", 4, 0], rows["train", 3, 0]
    assert kept["scores"] == {"chosen": dict.fromkeys(names, 9.0), "rejected": dict.fromkeys(names, 7.0)}
    assert (kept["gap"], kept["vetoes"]) == (2.0, {"chosen": [], "rejected": []})
    assert (kept["chosen"], kept["rejected"], kept["degraded"]) == (CHOSEN[0], f"seven {SECRET}", None)
    assert (vetoed["vetoes"]["chosen"], vetoed["gap"]) == (["unsafe"], 6.0)
    assert (cut["scores"], cut["gap"], cut["rejected"]) == (None, None, f"{CUT} {SECRET}")


def test_a_server_that_fails_in_every_way_loses_nothing_and_nothing_is_scored_twice(tmp_path):
    with scripted() as (script, server):
        calm = small(tmp_path / "calm", server.url)
        script.learn(calm)
        expected = pairs.run(calm)
    with scripted(mishaps=True) as (script, server):
        run = small(tmp_path / "stormy", server.url)
        script.learn(run)
        results = pairs.run(run)
    assert made(run) == made(calm)
    assert {k: v for k, v in results.items() if k != "speed"} == {k: v for k, v in expected.items() if k != "speed"}
    assert set(server.answered.values()) == {1}
    refused = server.asked.keys() - server.answered.keys()
    assert len(refused) == 3  # one answer, and one verdict on "gone" in each of two prompts
    assert sum(server.asked.values()) > sum(server.answered.values()) + len(refused)  # it did fail


def test_a_judge_that_goes_down_is_asked_for_the_rest_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(connecting, "RETRIES", 0)
    with scripted() as (script, server):
        calm = small(tmp_path / "calm", server.url)
        script.learn(calm)
        pairs.run(calm)
    with scripted() as (script, server):
        run = small(tmp_path / "run", server.url, judge={"slots": 1})
        script.learn(run)
        up = server.mishap
        server.mishap = lambda request, before: "cut" if verdicts(server) > 9 else up(request, before)
        with pytest.raises(UserError, match="judge: the server does not answer any more") as caught:
            pairs.run(run)
        assert SECRET not in str(caught.value) and not made(run)
        server.mishap = up
        pairs.run(run)
    assert made(run) == made(calm)
    assert set(server.answered.values()) == {1}


def test_both_orders_of_a_pair_count_and_where_they_disagree_it_is_a_tie(tmp_path):
    named = {f"{n}{m}": scores for n, of in enumerate(PAIRWISE.values()) for m, (scores, _) in enumerate(of)}
    words = {of: [(f"{n}{m}", s) for m, (_, s) in enumerate(PAIRWISE[of])] for n, of in enumerate(PAIRWISE)}

    def score(question: str, answer: str, place: str) -> int:
        word = answer.removesuffix(f" {SECRET}")
        as_b, as_a = named.get(word, (7, 9))
        return as_a if place == "A" else as_b

    with scripted(words, {}) as (script, server):
        server.score = score
        run = small(tmp_path, server.url, pairs={"mode": "pairwise", "max_prompts": 3})
        for name in ("sft_test", "pairs_test"):
            (run.dir.data / f"{name}.jsonl").unlink()
        script.learn(run)
        results = pairs.run(run)
    assert statuses(run) == of_the_table(PAIRWISE)
    assert (results["order_disagreements"], results["statuses"]["tie"]) == (2, 3)
    assert (len(server.requests), results["retried"]) == (9 + 2 * 9, 0)
    first = next(storage.read(run.dir.pairs / "pairs.jsonl"))
    assert {score for score in first["scores"]["chosen"].values()} == {8.0} and first["gap"] == 4.0


def test_a_changed_threshold_filters_again_and_asks_nobody(tmp_path):
    with scripted() as (script, server):
        run = small(tmp_path, server.url)
        script.learn(run)
        pairs.run(run)
        asked = len(server.requests)
        results = pairs.run(again(run, pairs={"min_gap": 1.0, "pick": "all"}))
    assert len(server.requests) - asked == 2 * 3  # the refused ones, which have no answer yet
    assert results["statuses"]["gap_below"] == results["statuses"]["spare"] == 0
    assert results["statuses"]["kept"] == COUNTED["kept"] + COUNTED["spare"] + COUNTED["gap_below"]


def test_another_criterion_asks_the_judge_again_and_not_the_model(tmp_path):
    with scripted() as (script, server):
        run = small(tmp_path, server.url)
        script.learn(run)
        pairs.run(run)
        asked, judged = len(server.requests), verdicts(server)
        pairs.run(again(run, pairs={"criteria": {"patience": "lets them talk"}}))
    assert len(server.requests) - asked - (verdicts(server) - judged) == 2  # the one that was refused
    assert verdicts(server) - judged >= judged - 2 * 2


def test_another_model_at_the_same_address_is_not_taken_for_the_judge_of_before(tmp_path):
    with scripted() as (script, server):
        run = small(tmp_path, server.url)
        script.learn(run)
        pairs.run(run)
        server.model = "owl"
        with pytest.raises(UserError, match="judge.model: 'sage' is not a model of this server"):
            pairs.run(again(run, pairs={"criteria": {"patience": "lets them talk"}}))
        results = pairs.run(again(run, judge={"model": "owl"}))
    assert results["judge"]["model"] == "owl" and script.times["seven"] == 2


def test_too_few_pairs_stop_the_run_with_what_became_of_the_candidates(tmp_path):
    with scripted() as (script, server):
        run = small(tmp_path, server.url, pairs={"min_pairs": 9})
        script.learn(run)
        with pytest.raises(
            UserError, match=r"^8 pairs to train on; of 24 candidates 1 ungenerated[^\0]*9 at least"
        ) as caught:
            pairs.run(run)
        assert SECRET not in str(caught.value) and "tired" not in str(caught.value)
        assert f" {COUNTED['kept']} kept\n" in str(caught.value)
        assert statuses(run) == of_the_table(POINTWISE) and not (run.dir.pairs / "pairs_train.jsonl").exists()
        asked = len(server.requests)
        assert pairs.run(again(run, pairs={"min_pairs": 8}))["pairs"]["train"] == 2
        assert len(server.requests) - asked == 2 * 3  # refused before


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"min_pairs": 13}, r"min_pairs: 13, and 6 training prompts give 12 pairs at most"),
        ({"rubric": "{{ answer }} {{ 1 / 0 }}"}, "pairs.rubric: the template fails with ZeroDivisionError"),
    ],
)
def test_what_would_stop_the_run_in_the_end_stops_it_before_anything_is_asked(tmp_path, keys, told):
    with scripted() as (_, server):
        with pytest.raises(UserError, match=told):
            pairs.run(small(tmp_path, server.url, pairs=keys))
        assert not server.requests


def test_a_judge_of_the_bases_own_family_is_refused_before_anything_is_asked(tmp_path):
    with listening(model="/models/Llama-3.2-3B.gguf") as server:
        run = small(tmp_path, server.url)
        for refused in (lambda: pairs.run(run), lambda: pairs.check(run.recipe)):
            with pytest.raises(UserError, match=r"own family \(llama\)"):
                refused()
        assert not server.requests
        results = pairs.run(again(run, judge={"allow_same_family": True}))
    assert results["judge"]["same_family"] is True and results["judge"]["model"] == "Llama-3.2-3B.gguf"


def test_the_preflight_takes_servers_that_answer_and_may_be_asked(tmp_path):
    with listening() as server:
        run = small(tmp_path, server.url)
        pairs.check(run.recipe)
        assert not server.requests
    with pytest.raises(UserError, match="no OpenAI-compatible server answers"):
        pairs.check(run.recipe)
    for section in ("pairs", "judge"):
        elsewhere = again(
            small(tmp_path / section, "http://127.0.0.1:9/v1"), **{section: {"server": "http://192.0.2.7/v1"}}
        )
        with listening() as server, pytest.raises(UserError, match=f"{section}.server is on another machine"):
            other = "judge" if section == "pairs" else "pairs"
            pairs.check(again(elsewhere, **{other: {"server": server.url}}).recipe)


def test_the_judge_is_blind_to_where_an_answer_comes_from(tmp_path):
    with scripted() as (script, server):
        run = small(tmp_path, server.url)
        script.learn(run)
        pairs.run(run)
    for request in server.requests:
        if "messages" in request:
            assert len(request["messages"]) == 1
            assert not {"chosen", "rejected", "candidate", "dataset"} & set(
                request["messages"][0]["content"].lower().split()
            )


def on_two_ranks(run_of: Callable[[machine.Ranks], Any]) -> list[Any]:
    """What each of two ranks gives, as threads of this process."""
    given: list[Future] = [Future(), Future()]

    def call(rank: int) -> None:
        try:
            given[rank].set_result(run_of(machine.Ranks(rank, rank, 2)))
        except Exception as error:  # noqa: BLE001  whatever it is, the test must hear of it
            given[rank].set_exception(error)

    for rank in range(2):
        threading.Thread(target=call, args=(rank,), daemon=True).start()  # the other may wait for what never comes
    return [future.result(timeout=60) for future in given]


def test_other_ranks_leave_servers_to_the_main_process(tmp_path, monkeypatch):
    meeting = threading.Barrier(2, timeout=60)
    monkeypatch.setattr(machine, "barrier", lambda ranks: meeting.wait())
    with scripted() as (script, server):
        run = small(tmp_path, server.url)
        script.learn(run)
        results = on_two_ranks(lambda ranks: pairs.run(Run(run.recipe, run.dir, run.say, ranks)))
    assert results[0]["candidates"] == 24 and results[1] is None
    assert set(server.answered.values()) == {1} and statuses(run) == of_the_table(POINTWISE)


def test_where_nothing_is_left_to_judge_no_judge_is_loaded_and_no_rank_waits_for_ever(tmp_path, monkeypatch):
    meeting = threading.Barrier(2, timeout=30)
    monkeypatch.setattr(machine, "barrier", lambda ranks: meeting.wait())
    monkeypatch.setattr(pairs, "POLL_SECONDS", 3.0)  # the other rank looks when the main process would be gone
    bases.make_tokenizer("gemma3", tmp_path / "judge")  # without weights
    rundir.write_json(tmp_path / "judge" / "config.json", {"model_type": "gemma3_text"})
    with listening(write=lambda prompt, seed: "") as server:
        run = small(tmp_path, server.url, judge={"server": None, "model": str(tmp_path / "judge")})
        results = on_two_ranks(lambda ranks: pairs.run(Run(run.recipe, run.dir, run.say, ranks)))
    assert results[0]["statuses"]["empty"] == 24 and results[1] is None
    assert not (run.dir.pairs / "cases.jsonl").exists()


def test_ranks_that_judge_what_a_server_wrote_wait_for_it_and_see_the_same(tmp_path):
    run = small(tmp_path, "http://127.0.0.1:9/v1")
    run.dir.pairs.mkdir()
    found = [candidates.answered(c, None if c.candidate else Answer("Sleep.", cut=False)) for c in planned(run)]

    def cases_of(ranks: machine.Ranks) -> list[Case]:
        return pairs.handed_on(Run(run.recipe, run.dir, run.say, ranks), (found, None) if ranks.main else None)

    cases = on_two_ranks(cases_of)
    assert cases[0] == cases[1] and len(cases[0]) == 8


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """base, judge and sft/adapter: real models, tiny and random."""
    folder = tmp_path_factory.mktemp("models")
    base, _ = bases.make("tinyllama", folder / "base"), bases.make("gemma3", folder / "judge")
    # what is random hardly ever ends by itself
    rundir.write_json(base / "generation_config.json", {"eos_token_id": [2, *range(100, 140)]})
    recipe = small_run.recipe(base)
    models.new_adapter(models.load_base(recipe.base, base), recipe.lora).save_pretrained(folder / "adapter")
    return folder


def test_real_models_in_this_process_write_and_judge(trained, tmp_path):
    judge = {"model": str(trained / "judge"), "quantization": "none", "temperature": 1.0}
    own = {
        "candidates": 2,
        "max_prompts": 2,
        "max_tokens": 32,
        "min_pairs": 1,
        "criteria": {"warmth": "is kind"},
        "vetoes": {},
    }
    own["rubric"] = "{{ question }} {{ answer }}"  # the one that ships is longer than what tiny models read
    recipe = small_run.recipe(trained / "base", pairs=own, judge=judge)
    run = small_run.run(tmp_path / "run", recipe)
    run.dir.adapter("sft").parent.mkdir(parents=True)
    run.dir.adapter("sft").symlink_to(trained / "adapter")
    results = pairs.run(run)
    assert results["candidates"] == 8 == sum(results["statuses"].values())
    assert results["statuses"]["ungenerated"] == results["statuses"]["unjudged"] == results["statuses"]["unparsed"] == 0
    assert (results["engine"], results["judge"]["engine"], results["judge"]["model"]) == (
        "transformers",
        "transformers",
        "judge",
    )
    assert results["judge"]["same_family"] is False and str(trained) not in json.dumps(results)
    assert results["speed"]["answers"]["tokens"] > 0 and results["judge"]["commit"] is None
    before = made(run)
    assert pairs.run(run)["speed"] == results["speed"] and made(run) == before
