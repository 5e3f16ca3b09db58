"""`python -m localpsych_recipes.llama_cpp`: where each of llama.cpp's tools is, built if need be."""

from __future__ import annotations

import sys

from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp import tools


def main() -> int:
    try:
        found = tools()
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command starts it again", file=sys.stderr)
        return 130
    print(f"llama.cpp {found.version}, from {found.origin}")
    for name, path in found.paths.items():
        print(f"  {name:<26}{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
