"""What base, SFT, DPO and each quant do with the same prompts, in numbers.

columns.py      which models are compared, and what answers for each
bench.py        the columns, what each was asked, what each answered: what the families of measures work on
measured.py     one measure of one column, item by item, and what it comes to;  table.py: all of them for a terminal

A family is a module with `asks(bench)` and `measure(bench)`; the stage has the list of them:

likelihood.py   loss, perplexity, preferences, by teacher_forcing.py
answers.py      held-out prompts, and the form of all answers;  suite.py: the prompt suite, by the rules of scoring/
similarity.py   BERTScore;  toxicity.py: a classifier;  both load a model that measures by measuring_models.py
refusals.py     XSTest and SimpleSafetyTests;  emotions.py: StudEmo;  all read published sets by benchmarks.py
labels.py       recipes whose answers are labels;  harness.py: tasks of lm-evaluation-harness
judging.py      the judge, asked once for all: judged.py (scores, harm), compared.py (wins), questions.py (question files),
                as verdicts.py chooses answers and reads what comes back
"""

from localpsych_recipes.evaluation.measured import Measured, Skipped, row

__all__ = ["Measured", "Skipped", "row"]
