"""The house: who may import whom, what is light, and that every path and command of the documents is there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from localpsych_recipes import pipeline, recipe

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "localpsych_recipes"
# a module may import those of its own row and of rows below; a package counts as one module
FLOORS = (
    ("__main__", "demo"),
    ("cli",),
    ("preflight", "plan", "summary", "fork", "data_report"),
    ("stages",),
    ("cards",),
    ("evaluation", "gates", "pairs"),
    ("judge", "verification"),
    ("generation",),
    ("conversion", "importance", "training", "licences"),
    ("models",),
    (
        "attention",
        "data",
        "hub",
        "llama_cpp",
        "local_hub",
        "lora",
        "merging",
        "openai_server",
        "recipe_file",
        "skeleton",
        "suites",
    ),  # fmt: skip
    ("pipeline",),
    (
        "chat_templates",
        "crisis_lines",
        "environment",
        "faults",
        "families",
        "fused_head",
        "machine",
        "meeting",
        "metrics",
        "micro_batches",
        "padding_free",
        "pictures",
        "progress",
        "recipe",
        "resources",
        "run_lock",
        "rundir",
        "scoring",
        "serving",
        "signals",
        "statistics",
        "trainer_keys",
        "training_callbacks",
        "training_log",
    ),  # fmt: skip
    ("errors",),
)
LIGHT = ("cli", "recipe_file", "rundir", "pipeline", "families", "hub", "local_hub", "preflight", "summary", "__main__")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Rooms of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith(f"{PACKAGE.name}.")}
    return found


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_go_down_only(path):
    for imported in imports(path) - {room(path), "__version__"}:
        assert floor(imported) >= floor(room(path)), f"{path.name} imports {imported}"


def test_a_stage_never_imports_a_stage():
    for path in (PACKAGE / "stages").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(from|import) localpsych_recipes\.stages", text), path.name


def test_every_stage_of_the_table_is_a_file_and_every_file_is_in_the_table():
    files = {p.stem for p in (PACKAGE / "stages").glob("*.py")} - {"__init__"}
    assert files == set(pipeline.NAMES)
    assert set(recipe.STAGE_SECTIONS) == files - {"prepare"}


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_no_heavy_library(module):
    code = (
        f"import sys, localpsych_recipes.{module}; "
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'bitsandbytes'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


DOCUMENTS = [
    p for folder in (".", "recipes", "recipes/accelerate", "benchmarks") for p in (CHECKOUT / folder).glob("*.md")
]


def test_llama_cpp_is_built_before_any_package_is_installed():
    """`make setup` builds it while packages are fetched."""
    bare = [sys.executable, "-S", "-c", "import localpsych_recipes.llama_cpp.__main__"]
    done = subprocess.run(bare, cwd=CHECKOUT, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_path_in_a_document_exists(document):
    text = document.read_text(encoding="utf-8")
    named = re.findall(r"(?:recipes|localpsych_recipes|model_cards|tests|benchmarks)/[\w./-]*\w", text)
    assert all((CHECKOUT / name).exists() for name in named), [n for n in named if not (CHECKOUT / n).exists()]


def test_every_command_in_the_readme_is_one_that_exists():
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= set(re.findall(r"^(?:\$ )?make (\w+)", text, re.MULTILINE)) <= targets
    from localpsych_recipes.cli import parser

    verbs = next(a for a in parser()._actions if a.choices).choices
    assert set(re.findall(r"^(?:\$ )?localpsych (\w+)", text, re.MULTILINE)) <= set(verbs)


def test_nothing_speaks_of_this_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True).stdout.split("\n")
    assert len(tracked) > 100
    for name in filter(None, tracked):
        content = (CHECKOUT / name).read_bytes()
        assert b"/wo" + b"rk/" not in content and b"/tmp/" + b"lab" not in content, name
