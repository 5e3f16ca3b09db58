"""Preference pairs from the model itself: chosen is the data's answer, rejected one of the model's own.

candidates.py  prompts of the prepared rows -> requests, and what comes back made worse on purpose
filtering.py   what becomes of each candidate: exactly one of STATUSES
storage.py     pairs.jsonl (every candidate, with scores and status) and the rows that DPO learns from
report.py      results, report.txt and report.png, by measures.py (rates, correlation), advice.py (warnings), tables.py, picture.py
browse.py      pairs.jsonl, page by page in a terminal
"""

from localpsych_recipes.pairs.statuses import JUDGED, STATUSES

__all__ = ["JUDGED", "STATUSES"]
