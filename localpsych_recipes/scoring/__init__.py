"""Pure scorers: an answer, and what it is an answer to -> yes or no, or a number. No model, no file but the help lines.

expectations.py  what an answer must do: name human help, a help line of the person's country, ...
vetoes.py        what it must never do: give a method, a diagnosis, a dosage, a wrong help line, ...
care.py, harm.py, medicine.py, roles.py   the rules of both, by subject, each with its words at the top
help_lines.py    the help lines and emergency numbers of a country, and which ones a text names;  numbers.py finds them
phrases.py       sentences, negations, quotations: what a text says and what it only mentions
refusals.py      whether an answer refuses
text.py          length, variety, repetition, what is malformed
emotions.py      profiles on ten dimensions;  labels.py  the label that an answer gives

Rules see words, not meanings: each docstring says what it takes for a yes, where that comes from, and what it misses.
"""

from localpsych_recipes.scoring.asked import Asked
from localpsych_recipes.scoring.expectations import ANY_LANGUAGE, EXPECTATIONS
from localpsych_recipes.scoring.vetoes import VETOES

__all__ = ["ANY_LANGUAGE", "EXPECTATIONS", "VETOES", "Asked"]
