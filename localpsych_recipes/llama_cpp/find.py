"""Where llama.cpp's tools are: what the user names, what is installed, what was built before; else a build."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp import build
from localpsych_recipes.llama_cpp.build import BINARIES, SCRIPTS, Say, tell
from localpsych_recipes.llama_cpp.tools import LlamaCpp

HOME_VARIABLE = "LLAMA_CPP_HOME"


def tools(say: Say = tell) -> LlamaCpp:
    """llama.cpp's tools, from the first place that has them; built into the user's cache if none has, after saying so.

    The places: LLAMA_CPP_HOME (a checkout with build/bin, an installed prefix with bin, or one flat folder; it must
    hold them all), the PATH, the user's cache. Scripts that are missing on the PATH come from the pinned source.
    Raises UserError for an incomplete LLAMA_CPP_HOME, a failing download or build, or tools that do not start.
    """
    if home := os.environ.get(HOME_VARIABLE):
        return _found(_in_home(Path(home).expanduser()), HOME_VARIABLE)
    if binaries := _on_path(BINARIES):
        scripts = _on_path(SCRIPTS) or _in_folders(SCRIPTS, [build.ensure(say, binaries=False)])
        return _found({**scripts, **binaries}, "the PATH")
    return _found(_in_folders((*SCRIPTS, *BINARIES), _layouts(build.ensure(say))), "the user's cache")


def check_available() -> None:
    """UserError if the tools are neither there nor can be built here: asked before hours of training, not after."""
    if home := os.environ.get(HOME_VARIABLE):
        _in_home(Path(home).expanduser())
    elif not _on_path(BINARIES) and not build.place(binaries=True).is_dir():
        build.check_compilers()


def _layouts(root: Path) -> list[Path]:
    return [root, root / "bin", root / "build" / "bin"]


def _in_folders(names: Iterable[str], folders: list[Path]) -> dict[str, Path]:
    """Each name with its first existing file; names without one are left out."""
    found = {name: next((folder / name for folder in folders if (folder / name).is_file()), None) for name in names}
    return {name: path for name, path in found.items() if path}


def _in_home(home: Path) -> dict[str, Path]:
    paths = _in_folders((*SCRIPTS, *BINARIES), _layouts(home.absolute()))
    if missing := [name for name in (*SCRIPTS, *BINARIES) if name not in paths]:
        raise UserError(
            f"{HOME_VARIABLE}={home} without {', '.join(missing)}",
            f"the converter scripts in it, and {', '.join(BINARIES)} in it, in its bin or in its build/bin",
            f"build the missing tools there, or unset {HOME_VARIABLE} to have them looked for on the PATH and built",
        )
    return paths


def _on_path(names: Iterable[str]) -> dict[str, Path]:
    """All of the names as they lie on the PATH, or nothing: tools of two versions are not mixed."""
    paths = {name: shutil.which(name) for name in names}
    return {name: Path(path) for name, path in paths.items() if path} if all(paths.values()) else {}


def _found(paths: dict[str, Path], origin: str) -> LlamaCpp:
    return LlamaCpp(paths=paths, origin=origin, version=_version(paths["llama-server"]))


def _version(server: Path) -> str:
    """What `llama-server --version` calls itself, such as "0.5.0-dev (build 1, commit 0c1e570)"."""
    try:
        run = subprocess.run([server, "--version"], capture_output=True, text=True, errors="replace", timeout=60)
        text = run.stdout + run.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        text = str(error)
    if match := re.search(r"^version: (.+)$", text, re.MULTILINE):
        return match[1].strip()
    raise UserError(
        f"{server} does not start: {text.strip()[-500:]}",
        "a llama-server that runs on this machine",
        f"install or build llama.cpp anew; {build.cache()} may be deleted, it is built again when needed",
    )
