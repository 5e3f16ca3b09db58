"""What can become of a candidate, in words, in the order in which it is asked; each candidate has exactly one."""

BEFORE_THE_JUDGE = {
    "ungenerated": "refused by the model's server",
    "empty": "no text, or reasoning that never ends",
    "cut_off": "cut off at max_tokens",
    "identical": "the chosen answer itself",
    "near_identical": "nearly the chosen answer",
    "repeated": "the same as an earlier candidate of its prompt",
}
AFTER_THE_JUDGE = {
    "unjudged": "refused by the judge's server",
    "unparsed": "its verdict could not be read, twice",
    "vetoed": "its chosen answer does what it must not",
    "tie": "no difference, or the two orders disagree",
    "rejected_better": "scored higher than the chosen answer",
    "gap_below": "chosen not far enough ahead",
    "spare": "enough of a gap, but another candidate was picked",
    "kept": "kept",
}
STATUSES = BEFORE_THE_JUDGE | AFTER_THE_JUDGE
JUDGED = ("vetoed", "tie", "rejected_better", "gap_below", "spare", "kept")  # with a verdict on both answers
