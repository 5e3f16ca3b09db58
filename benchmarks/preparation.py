"""Rows a second of data preparation: a CSV of questions and answers -> conversations, split, as JSONL.

    python benchmarks/preparation.py [--rows 100000] [--times 3]

Against the few lines that a notebook has for it, `datasets` alone (read_csv, map to messages, shuffle, train_test_split,
to_json), which check nothing; this project also counts empty and repeated rows, near duplicates, leaks between the
splits, outdated help lines and lengths of text. Each is a process of its own, in turns. The peers' caches are off.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
import tempfile
from pathlib import Path

from children import interleaved, table

PEER = "datasets alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        STEPS[options.step](options.folder)
        return
    with tempfile.TemporaryDirectory(prefix="data-") as folder:
        write_rows(Path(folder) / "rows.csv", options.rows)
        again = [sys.executable, __file__, "--folder", folder, "--step"]
        found = interleaved({name: [*again, name] for name in STEPS}, options.times)
    print(f"{options.rows:,} rows")
    print(table(found, PEER))


def write_rows(path: Path, rows: int) -> None:
    """Texts of real lengths, 40 words asked and 90 answered on average, from 20,000 invented words."""
    dice = random.Random(0)
    words = ["".join(dice.choices("etaoinshrdlu", k=dice.randrange(2, 9))) for _ in range(20_000)]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("question", "answer"))
        for _ in range(rows):
            table.writerow([" ".join(dice.choices(words, k=dice.randrange(n // 2, 3 * n // 2))) for n in (40, 90)])


def prepared(folder: Path) -> None:
    from localpsych_recipes import data
    from localpsych_recipes.recipe import Data

    columns = {"prompt": "question", "response": "answer"}
    rows = Data.model_validate({"source": str(folder / "rows.csv"), "columns": columns, "test_size": 0.1})
    (folder / "prepared").mkdir(exist_ok=True)
    data.write(data.prepare(rows), folder / "prepared")


def bare(folder: Path) -> None:
    import datasets

    datasets.disable_caching()
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_csv(
        str(folder / "rows.csv"), cache_dir=tempfile.mkdtemp(dir=folder), keep_in_memory=True
    )

    def conversation(row: dict) -> dict:
        return {
            "prompt": [{"role": "user", "content": row["question"]}],
            "completion": [{"role": "assistant", "content": row["answer"]}],
        }

    split = rows.map(conversation, remove_columns=rows.column_names).shuffle(42).train_test_split(0.1, seed=42)
    for name, part in split.items():
        part.to_json(str(folder / f"{name}.jsonl"))


STEPS = {PEER: bare, "this project": prepared}

if __name__ == "__main__":
    main()
