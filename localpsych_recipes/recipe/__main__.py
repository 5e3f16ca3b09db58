"""`python -m localpsych_recipes.recipe [FILE]`: the JSON Schema of recipes, printed, or written to a file."""

import json
import sys
from pathlib import Path

from localpsych_recipes.recipe import json_schema

text = json.dumps(json_schema(), indent=2) + "\n"
if sys.argv[1:]:
    Path(sys.argv[1]).write_text(text, encoding="utf-8")  # whole or not at all: a shell's > empties it first
else:
    print(text, end="")
