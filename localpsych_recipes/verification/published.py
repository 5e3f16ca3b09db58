"""`localpsych verify`: a run's release, or one on the Hub, of which no run directory and no training row is at hand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from localpsych_recipes import hub, pipeline, recipe_file
from localpsych_recipes.errors import UserError
from localpsych_recipes.models import TOKENIZER_FILES
from localpsych_recipes.recipe import Recipe, Verify, is_local
from localpsych_recipes.recipe_file.extending import HUB
from localpsych_recipes.rundir import RunDir
from localpsych_recipes.verification import in_process, proving, report
from localpsych_recipes.verification.release import CONFIG, WEIGHTS, Release, ggufs_in

ALL_PROVEN = "everything that is there is proven"
ADAPTER_GGUF = "adapter.gguf"
# weights in safetensors and texts alone: of a repository that somebody else filled, no code is fetched
FILES = {
    "adapter": (CONFIG, WEIGHTS, ADAPTER_GGUF, *TOKENIZER_FILES),
    "merged": ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "merges.txt"),
    "gguf": ("*.gguf",),
}


def verify(what: str, overrides: Iterable[str], say: Callable[[str], None]) -> bool:
    """Says every hop and what follows; whether all of them are proven.

    what: a run directory, or hf://USER/REPO[@REVISION], any repository of a release. overrides: of its recipe, as --set
    gives them. UserError where there is nothing to compare.
    """

    def flush_left(text: str) -> None:
        say(text.strip())

    results = (_on_the_hub if recipe_file.is_address(what) else _of_run)(what, overrides, flush_left)
    for line in report.outcome(results):
        say(line)
    failed = sum(not hop["passed"] for hop in results["hops"])
    gaps = any(left["why"] != in_process.SAME_MODEL for left in results["left_out"])
    proven = "what was compared is proven, and nothing of what was left out" if gaps else ALL_PROVEN
    say(f"{failed} of {len(results['hops'])} hops failed" if failed else proven)
    return not failed


def _of_run(folder: str, overrides: Iterable[str], say: Callable[[str], None]) -> dict[str, Any]:
    place = RunDir(folder)
    place.refuse_no_run()
    run = pipeline.Run(recipe_file.load(place.recipe, overrides), place, say=say)
    pipeline.refuse_gaps(run, [pipeline.stage("verify")])
    return proving.prove_run(run)


def _on_the_hub(address: str, overrides: Iterable[str], say: Callable[[str], None]) -> dict[str, Any]:
    recipe = recipe_file.load(address, overrides)
    release = fetched(recipe, *HUB.fullmatch(address).group("repo", "revision"), say)
    with tempfile.TemporaryDirectory(prefix="localpsych-") as folder:
        knobs = recipe.verify or Verify()
        return proving.prove(release, knobs, seed=recipe.seed, work=Path(folder) / "work", say=say)


def fetched(recipe: Recipe, repository: str, revision: str | None, say: Callable[[str], None]) -> Release:
    """The repositories of the release that `repository` belongs to, and its base, in the Hub's cache.

    revision: of that repository; its siblings' is then the release's tag, else the main branch of all. What cannot be
    had is in `missing`. UserError without a base, or where the repository itself cannot be read.
    """
    folders, missing = {}, {}
    for kind, name in siblings(recipe, repository).items():
        at = revision if name == repository or not revision else f"v{recipe.version}"
        try:
            folders[kind] = hub.files(name, at, FILES[kind], key=f"the {kind} repository")
        except UserError as error:
            if name == repository:
                raise
            missing[kind] = error.given
    adapter = folders.get("adapter")
    gguf = adapter / ADAPTER_GGUF if adapter else None
    return Release(
        name=recipe.name,
        base=recipe.base.model_copy(update={"trust_remote_code": False}),
        base_folder=base_folder(recipe, say),
        adapter=adapter,
        merged=folders.get("merged"),
        ggufs=ggufs_in(folders["gguf"]) if "gguf" in folders else (),
        sixteen_bit=None,
        adapter_gguf=gguf if gguf and gguf.is_file() else None,
        missing=missing,
    )


def siblings(recipe: Recipe, repository: str) -> dict[str, str]:
    """Kind -> repository of what the recipe makes, by the names of its push section, of the same owner.

    UserError where `repository` is none of them.
    """
    owner = repository.split("/")[0]
    push = recipe.push and recipe.push.model_copy(update={"namespace": owner})
    made = {"adapter": True, "merged": recipe.merge, "gguf": recipe.gguf}
    names = hub.repositories(push, recipe.name, owner)
    found = {kind: names[kind] for kind, section in made.items() if section}
    if repository not in found.values():
        raise UserError(
            f"{repository}, whose recipe.yaml is of {recipe.name}",
            f"one of {', '.join(found.values())}",
            "name one of these; a repository under another name cannot be told apart from its siblings",
        )
    return found


def base_folder(recipe: Recipe, say: Callable[[str], None]) -> Path:
    """The pinned base in the Hub's cache. UserError for a release of a base that is not on the Hub."""
    base = recipe.base
    if is_local(base.model):
        raise UserError(f"base.model: {base.model}", "a base on the Hub", "verify such a release by its run directory")
    return hub.snapshot(base.model, hub.pin(base.model, "model", base.revision).commit, say=say)
