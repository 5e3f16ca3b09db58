"""A language model as the judge of answers, scored by a written rubric; it knows nothing of what the scores are for.

rubric.py    criteria, vetoes, scale and template -> what the judge is asked, and the JSON Schema of its answer
             rubric*.md.j2: the templates that ship
verdicts.py  the judge's text -> scores and vetoes, or nothing where it cannot be read
asking.py    verdicts on many answers: asked, asked again where unreadable, averaged over both orders of a pair
choosing.py  which model judges on this machine; the same one for as long as the recipe asks for the same
kinship.py   whether judge and policy are of one family
of_run.py    the judge of a run, for a stage that asks one
calibration.py, calibration.yaml   what a judge is worth, on fixed items whose answer is plain
"""

from localpsych_recipes.judge.asking import Case, Judged, Judgement, Part, ask, ask_all
from localpsych_recipes.judge.choosing import Choice, about_the_judge, choose, name_there, refuse_unusable, weights
from localpsych_recipes.judge.kinship import kind_of, refuse_same_family, same_family
from localpsych_recipes.judge.rubric import Rubric
from localpsych_recipes.judge.verdicts import Verdict, parse

__all__ = [
    "Case", "Choice", "Judged", "Judgement", "Part", "Rubric", "Verdict", "about_the_judge", "ask", "ask_all", "choose",
    "kind_of", "name_there", "parse", "refuse_same_family", "refuse_unusable", "same_family", "weights",
]  # fmt: skip
