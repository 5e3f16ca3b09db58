"""What was counted while rows were prepared, in words."""

from __future__ import annotations


def describe(counts: dict[str, int]) -> str:
    """One line for the log, from the counts of a `Prepared`."""
    parts = [f"{_number(counts['rows'], 'row')}: {_cleaning(counts)}", _splitting(counts)]
    if counts["sft_train"] != counts["train"]:
        parts.append(f"{counts['sft_train']:,} answers to learn from them, {counts['sft_test']:,} held out")
    if both := counts["prompts_in_both_splits"]:
        parts.append(f"{_number(both, 'held-out prompt')} also {'occurs' if both == 1 else 'occur'} in training")
    if equal := counts["equal_pairs"]:
        parts.append(f"{_number(equal, 'pair')} of equal answers")
    return "; ".join(parts)


def _cleaning(counts: dict[str, int]) -> str:
    empty = f"{counts['empty']:,} empty dropped" if counts["empty"] else "none empty"
    done = "dropped" if counts["duplicates_dropped"] else "kept"
    repeated = f"{_number(counts['duplicates'], 'duplicate')} {done}" if counts["duplicates"] else "no duplicates"
    beyond = f", {counts['over_max_rows']:,} beyond max_rows" if counts["over_max_rows"] else ""
    return f"{empty}, {repeated}{beyond}"


def _splitting(counts: dict[str, int]) -> str:
    held_out = f"{counts['test']:,}" if counts["test"] else "none"
    return f"{counts['train']:,} to train on, {held_out} held out"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
