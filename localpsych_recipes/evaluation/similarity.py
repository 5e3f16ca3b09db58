"""How like the held-out answers each column's are: BERTScore, by the bert-score package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localpsych_recipes import machine, models
from localpsych_recipes.errors import UserError
from localpsych_recipes.evaluation import benchmarks, measuring_models
from localpsych_recipes.evaluation.bench import Bench, Question, conversation
from localpsych_recipes.evaluation.measured import Measured, Skipped
from localpsych_recipes.recipe import BertScore

if TYPE_CHECKING:
    from bert_score import BERTScorer

BATCH = 32


def asks(bench: Bench) -> Sequence[Question]:
    """Nothing: the held-out questions are asked already."""
    return ()


def measure(bench: Bench) -> Iterator[Measured | Skipped]:
    """F1 of each held-out answer. The encoder is loaded once, for all columns."""
    wanted = bench.knobs.bert_score
    if wanted is None or not bench.held_out:
        yield Skipped("bert_score", "no held-out rows are asked" if wanted else "evaluate.bert_score is not set")
        return
    try:
        encoder = measuring_models.find(wanted.model, wanted.revision)
        scorer = load(encoder.folder, wanted)
    except UserError as error:
        yield Skipped("bert_score", benchmarks.reason(error))
        return
    bench.say(f"      BERTScore by {encoder.where}")
    for column in bench.columns:
        yield _measured(bench, column.name, scorer, f"{encoder.where}, layer {scorer.num_layers}")
    del scorer
    models.forget()


def check(wanted: BertScore) -> None:
    """For the preflight: UserError where the encoder's layer or its baseline would have to be guessed."""
    layer(wanted)
    if wanted.rescale_with_baseline:
        baseline(wanted)


def layer(wanted: BertScore) -> int:
    """The layer whose hidden states are compared: the recipe's, or the one that the package's authors chose."""
    from bert_score.utils import model2layers

    found = wanted.num_layers or next((model2layers[name] for name in _names(wanted) if name in model2layers), None)
    if found is None:
        given = f"evaluate.bert_score.model: {wanted.model} is no encoder that the bert-score package knows"
        raise UserError(given, "num_layers, the layer to compare", "set evaluate.bert_score.num_layers")
    return found


def baseline(wanted: BertScore) -> Path:
    """The package's file of what unrelated English texts come to with this encoder."""
    import bert_score

    folder = Path(bert_score.__file__).parent / "rescale_baseline" / "en"
    found = next((file for name in _names(wanted) if (file := folder / f"{name}.tsv").is_file()), None)
    if found is None:
        given = f"evaluate.bert_score.rescale_with_baseline: the bert-score package has no baseline for {wanted.model}"
        raise UserError(given, "an encoder that it has one for, such as roberta-large", "set it to false")
    return found


def load(folder: Path, wanted: BertScore) -> BERTScorer:
    """The package's scorer on an encoder in a folder. UserError for a layer that the encoder does not have, and for files
    that are no encoder and its tokenizer."""
    from bert_score import BERTScorer
    from transformers import AutoConfig

    with measuring_models.readable(wanted.model):
        config = AutoConfig.from_pretrained(folder)
        _refuse_mistaken(folder, config.model_type)
        scorer = BERTScorer(
            str(folder),
            num_layers=_refuse_deeper(layer(wanted), config.num_hidden_layers),
            batch_size=BATCH,
            rescale_with_baseline=wanted.rescale_with_baseline,
            **({"lang": "en", "baseline_path": str(baseline(wanted))} if wanted.rescale_with_baseline else {}),
        )
    scorer._tokenizer.model_max_length = measuring_models.longest(scorer._tokenizer, config)  # where it cuts texts
    return scorer


def score(scorer: BERTScorer, answers: Mapping[str, str], references: Mapping[str, str]) -> dict[str, float]:
    """F1 of each answer to the reference under the same key; 0 where one is empty, which the package cannot take."""
    keys = [key for key, answer in answers.items() if answer.strip() and references[key].strip()]
    scores = dict.fromkeys(answers, 0.0)
    if keys:
        _, _, f1 = scorer.score([answers[key] for key in keys], [references[key] for key in keys], batch_size=BATCH)
        scores |= zip(keys, f1.tolist(), strict=True)
    return scores


def _measured(bench: Bench, column: str, scorer: BERTScorer, where: str) -> Measured:
    answers = bench.texts(column, "held-out/")
    rows = {id: bench.held_out[int(id.split("/")[1])] for id in answers}
    references = {id: row["completion"][-1]["content"] for id, row in rows.items()}
    items = {id: (value, 1.0) for id, value in score(scorer, answers, references).items()}
    how = "; ".join(filter(None, (_how(scorer, where), *_limits(scorer, answers, references))))
    return Measured("bert_score", column, items, {id: conversation(row["prompt"]) for id, row in rows.items()}, how)


def _how(scorer: BERTScorer, where: str) -> str:
    version = machine.versions(["bert-score"])["bert-score"]  # the package itself says 0.3.12
    rescaled = ", rescaled by the package's baseline" if scorer.rescale_with_baseline else ""
    return f"bert-score {version}, {where}{rescaled}"


def _limits(scorer: BERTScorer, answers: Mapping[str, str], references: Mapping[str, str]) -> Iterator[str]:
    if empty := sum(not answer.strip() for answer in answers.values()):
        yield f"empty answers, which count as 0: {empty:,}"
    texts = (*answers.values(), *references.values())
    yield measuring_models.cut(scorer._tokenizer, scorer._tokenizer.model_max_length, texts)


def _refuse_deeper(number: int, deepest: int) -> int:
    if number > deepest:
        raise UserError(f"evaluate.bert_score.num_layers: {number}", f"1 to {deepest}", "name one of these layers")
    return number


def _refuse_mistaken(folder: Path, model_type: str) -> None:
    # bert-score looks for "t5" in the path, and would fill a T5 with the weights of something else
    if "t5" in str(folder) and "t5" not in model_type:
        given = "the bert-score package takes an encoder for a T5 by the letters t5 in its path"
        raise UserError(given, "a path without them", "move the folder, or HF_HOME")


def _names(wanted: BertScore) -> tuple[str, str]:
    """An encoder's name today and before organisations: FacebookAI/roberta-large, roberta-large."""
    return wanted.model, wanted.model.rpartition("/")[2]
