"""Five invented labelled sets and a recipe on them, shaped as llama3.2-3b-mental-health has the real ones."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

CANARY = "zebrafinch"  # stands in every row
EMOTIONS = ("joy", "fear", "anger", "sadness", "disgust", "shame", "guilt")
LEVELS = ("minimum", "mild", "moderate", "severe")
BITS = ("0", "1")
# file, column of the text, column of the label, labels, rows
FILES = (
    ("isear/train", "text", "emotion", EMOTIONS, 14),
    ("isear/test", "text", "emotion", EMOTIONS, 4),
    ("stress/train", "text", "label", BITS, 12),
    ("stress/test", "text", "label", BITS, 3),
    ("depression", "clean_text", "is_depression", BITS, 10),
    ("severity", "text", "label", LEVELS, 10),
    ("sdcnl/train", "selftext", "is_suicide", BITS, 8),
    ("sdcnl/test", "selftext", "is_suicide", BITS, 2),
)
# what the recipe below makes of them: a fifth held out where a source has no split of its own, half of the last taken
ROWS_TRAIN_TEST = ((18, 14, 4), (15, 12, 3), (10, 8, 2), (10, 8, 2), (10, 4, 2))
RECIPE = """
extends: llama3.2-3b-mental-health
name: Llama-tiny-analyst
base: {{model: demo/tiny-gemma4}}
data:
  mixture:
    - source: {folder}/isear
      license: cc-by-4.0
      test_split: test
      columns: {{prompt: "Which emotion is it?\\n\\n{{text}}", response: "The person felt {{emotion}}."}}
      labels: {{emotion: {{joy: joy, fear: fear, anger: anger, sadness: sadness, disgust: disgust, shame: shame, guilt: guilt}}}}
    - source: demo/stress
      test_split: test
      columns: {{prompt: "Is there stress?\\n\\n{{text}}", response: "This post shows {{label}}."}}
      labels: {{label: {{'0': no stress, '1': stress}}}}
    - source: {folder}/depression.csv
      test_size: 0.2
      columns: {{prompt: "Is there depression?\\n\\n{{clean_text}}", response: "This post shows {{is_depression}}."}}
      labels: {{is_depression: {{'0': no depression, '1': depression}}}}
    - source: {folder}/severity.csv
      test_size: 0.2
      columns: {{prompt: "How severe is it?\\n\\n{{text}}", response: "The signs are {{label}}."}}
      labels: {{label: {{minimum: minimal, mild: mild, moderate: moderate, severe: severe}}}}
    - source: {folder}/sdcnl
      test_split: test
      weight: 0.5
      columns: {{prompt: "What does it point to?\\n\\n{{selftext}}", response: "It points to {{is_suicide}}."}}
      labels: {{is_suicide: {{'0': depression, '1': suicidal ideation}}}}
augment: {{server: {server}/v1, model: demo/teacher, prompt: "{{prompt}} {{response}}", max_tokens: 40}}
sft: {{max_steps: 2, gradient_accumulation_steps: 1, max_length: 256, gradient_checkpointing: false}}
gguf: {{quants: [Q8_0]}}
verify: {{chunks: 2, quant_chunks: 2, answers: 2, max_tokens: 32}}
evaluate: {{suite: null, general_text: null, rows: 4, max_tokens: 16, resamples: 100}}
"""


def write(folder: Path) -> None:
    """The files of all sets, and a private one that no recipe reads beside one of them."""
    words = itertools.cycle("rain home quiet work night road mother window letter bread".split())
    for name, text, label, labels, rows in FILES:
        path = folder / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow((text, label))
            for number in range(rows):
                said = " ".join(itertools.islice(words, 7 + number % 3))
                table.writerow((f"{CANARY} {number} {said}", labels[number % len(labels)]))
    (folder / "isear" / "names-of-participants.txt").write_text(CANARY)
