"""Answers of a model to many prompts, by one of several engines, each kept as it comes.

requests.py    what is asked and what comes back
ledger.py      what was answered, on disk: no request is answered twice, whatever kills the run
writing.py     all answers to a list of requests: what is missing is asked for, on one rank or on every one
writers.py     which engine a recipe means
weights.py     a model on this machine;  rendering.py, decoding.py: requests as its token ids, ids as answers
in_process.py  transformers in this process, in batches;  constrained.py: answers that follow a JSON Schema
on_server.py   any OpenAI-compatible server, with several requests under way (at_once.py)
starting.py    llama-server and vLLM, started and stopped, with as many slots as fit (slots.py)
answering.py   what a stage makes of all that: a ledger, lines of progress, words for its report
"""

from localpsych_recipes.generation.ledger import Ledger
from localpsych_recipes.generation.requests import Answer, Messages, Request, Sampling
from localpsych_recipes.generation.writing import Engine, Writer, spent, write_all

__all__ = ["Answer", "Engine", "Ledger", "Messages", "Request", "Sampling", "Writer", "spent", "write_all"]
