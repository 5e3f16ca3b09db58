"""What a user installs is whole: a wheel and a checkout alike hold recipes, card templates and the demo's data."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from localpsych_recipes import __version__

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "localpsych_recipes", "recipes", "model_cards")
DATA = ("recipes", "model_cards", "localpsych_recipes/demo/data")

# Prints each resource that is found, and which heavy modules the light import brought in.
LOOK = """
import sys
import localpsych_recipes
from localpsych_recipes.resources import resource
heavy = {"torch", "transformers", "datasets", "numpy"} & sys.modules.keys()
print(localpsych_recipes.__file__, localpsych_recipes.__version__, sorted(heavy))
for folder in ("recipes", "model_cards", "demo/data"):
    for file in sorted(resource(*folder.split("/")).rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            print(folder + "/" + file.relative_to(resource(*folder.split("/"))).as_posix(), file.stat().st_size)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in filter(lambda name: (ROOT / name).exists(), SOURCES):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", out, copy)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--target", target, wheel)
    return target


def pip(*arguments: str | Path) -> None:
    run = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def look(package: Path, cwd: Path) -> list[str]:
    """What LOOK prints, line by line, with `package` first on the module path."""
    env = {**os.environ, "PYTHONPATH": str(package)}
    run = subprocess.run([sys.executable, "-c", LOOK], cwd=cwd, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def shipped() -> set[str]:
    """Every file of the checkout's data folders, with its size, as LOOK prints it."""
    files = [(folder, file) for folder in DATA for file in (ROOT / folder).rglob("*") if file.is_file()]
    names = {f"{folder}/{file.relative_to(ROOT / folder).as_posix()} {file.stat().st_size}" for folder, file in files}
    return {name.removeprefix("localpsych_recipes/") for name in names if "__pycache__" not in name}


def test_a_wheel_finds_every_recipe_template_and_data_file_and_imports_lightly(installed, tmp_path):
    first, *files = look(installed, tmp_path)
    assert first == f"{installed / 'localpsych_recipes' / '__init__.py'} {__version__} []"
    assert set(files) == shipped()


def test_a_checkout_finds_the_same(tmp_path):
    first, *files = look(ROOT, tmp_path)
    assert first == f"{ROOT / 'localpsych_recipes' / '__init__.py'} {__version__} []"
    assert set(files) == shipped()


@pytest.mark.parametrize("start", ["recipes/", "model_cards/", "demo/data/"])
def test_there_is_something_of_each_kind_to_ship(start):
    assert [name for name in shipped() if name.startswith(start)]


def test_a_wheel_holds_every_module_and_the_licence(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "localpsych_recipes").rglob("*.py")}
    assert modules - held == set()
    assert [name for name in held if name.endswith("licenses/LICENSE")]


def test_a_wheel_brings_the_command(wheel):
    names = zipfile.ZipFile(wheel)
    entry_points = next(name for name in names.namelist() if name.endswith("entry_points.txt"))
    assert "localpsych = localpsych_recipes.cli:main" in names.read(entry_points).decode()


def test_every_requirement_has_a_tested_version_in_the_constraints(wheel):
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert requirements(wheel) - set(map(normal, pinned)) == set()


def test_every_library_that_is_imported_is_a_requirement(wheel):
    trees = [ast.parse(file.read_text()) for file in (ROOT / "localpsych_recipes").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    roots = {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"localpsych_recipes"}
    names = metadata.packages_distributions() | {"ruamel": ["ruamel.yaml"]}  # a namespace without a file of its own
    assert {normal(names[root][0]) for root in roots} - requirements(wheel) == set()


def requirements(wheel: Path) -> set[str]:
    """The normalised names of the projects that the wheel requires."""
    with zipfile.ZipFile(wheel) as names:
        text = names.read(next(name for name in names.namelist() if name.endswith("METADATA"))).decode()
    return {normal(name) for name in re.findall(r"^Requires-Dist: ([\w.-]+)", text, re.MULTILINE)}


def normal(name: str) -> str:
    """A project's name in the one spelling that all of its spellings share (the packaging guide's normalisation)."""
    return re.sub(r"[-_.]+", "-", name).lower()
