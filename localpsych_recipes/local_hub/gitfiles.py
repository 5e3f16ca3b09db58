"""The two files by which a repository steers uploads: .gitattributes (what is an LFS file) and .gitignore."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePosixPath

_LFS = "filter=lfs diff=lfs merge=lfs -text"
_LFS_PATTERNS = """*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gguf *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack
    *.npy *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar
    *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents*""".split()

# What the Hub puts into the first commit of every repository, so that main has a head before the first upload.
DEFAULT_ATTRIBUTES = "".join(f"{pattern} {_LFS}\n" for pattern in _LFS_PATTERNS)

MOST_STARS = 8  # in one pattern; the time to see that a path does not fit grows with its length to their number
REGULAR_LIMIT = 10 * 2**20  # bytes; the Hub takes no larger file into git itself


def is_lfs(attributes: str, path: str, size: int, sample: bytes) -> bool:
    """Whether an upload goes to LFS: by its name, its size, or because its first bytes are not text."""
    return tracked(attributes, path) or size > REGULAR_LIMIT or _is_binary(sample)


def tracked(attributes: str, path: str) -> bool:
    """Whether .gitattributes declares `path` an LFS file."""
    lines = [line.split() for line in attributes.splitlines()]
    patterns = [words[0] for words in lines if "filter=lfs" in words[1:]]
    return any(_matches(pattern.replace("[[:space:]]", " "), path) for pattern in patterns)


def track(attributes: str, paths: list[str]) -> str:
    """.gitattributes with a line for each LFS file that no pattern covers; the Hub adds these by itself."""
    missing = [path for path in paths if not tracked(attributes, path)]
    ended = attributes if attributes.endswith("\n") or not attributes else attributes + "\n"
    return ended + "".join(f"{path.replace(' ', '[[:space:]]')} {_LFS}\n" for path in missing)


def ignored(rules: str, path: str) -> bool:
    """Whether .gitignore leaves `path` out: the last rule that fits it or one of its folders decides."""
    folders = [str(folder) for folder in PurePosixPath(path).parents if str(folder) != "."]
    result = False
    for rule in (line.strip() for line in rules.splitlines() if line.strip() and not line.startswith("#")):
        pattern = rule.removeprefix("!")
        candidates = folders if pattern.endswith("/") else [path, *folders]
        if any(_matches(pattern.rstrip("/"), candidate) for candidate in candidates):
            result = not rule.startswith("!")
    return result


def _is_binary(sample: bytes) -> bool:
    try:
        return "\0" in sample[:-3].decode()  # the sample may end in the middle of a character
    except UnicodeDecodeError as error:
        return error.start < len(sample) - 6


def _matches(pattern: str, path: str) -> bool:
    whole = path if "/" in pattern else path.rpartition("/")[2]
    wildcard = _wildcard(pattern.lstrip("/"))
    return wildcard is not None and bool(wildcard.fullmatch(whole))


@lru_cache(maxsize=1024)
def _wildcard(pattern: str) -> re.Pattern[str] | None:
    """git's wildcards (gitignore(5)) as a regular expression: '*' and '?' stop at '/', '**' does not.

    None for a pattern that fits nothing, as `[z-a]`, and for one with so many stars that trying it would take hours.
    """
    if pattern.count("*") > MOST_STARS:
        return None
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    try:
        return re.compile("".join(known.get(part) or _bracket(part) for part in parts), re.DOTALL)
    except re.error:
        return None


def _bracket(part: str) -> str:
    if not part.startswith("[") or not part.endswith("]"):
        return re.escape(part)
    inside = part[1:-1].replace("\\", "\\\\").replace("[", "\\[")
    return "[^" + inside[1:] + "]" if inside[0] in "!^" and len(inside) > 1 else "[" + inside + "]"
