"""`make demo`: a tiny model from a recipe to three repositories on an embedded Hub, then used as its users would.

python -m localpsych_recipes.demo [FOLDER]      FOLDER, by default runs/demo, holds everything that is made
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from localpsych_recipes import environment, local_hub
from localpsych_recipes.progress import duration
from localpsych_recipes.resources import resource

USER = "demo"
BASE, DATASET = f"{USER}/tiny-gemma4", f"{USER}/kind-and-unkind-answers"
RELEASE = f"{USER}/tiny-gemma4-psych"
DATASET_FILES = ("conversations.jsonl", "README.md", "LICENSE")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/demo"))
    folder = parser.parse_args(argv).folder.absolute()
    sys.stdout.reconfigure(line_buffering=True)  # its lines stay in order with those of the run, in a file too
    started = time.monotonic()
    token = kept_token(folder)
    with local_hub.LocalHub(folder / "hub", tokens={token: USER}) as hub:
        # the Hub's libraries read these when they are imported, so nothing of theirs is imported before
        os.environ.update(hub.environment(token), HF_HOME=str(folder / "hf-home"))
        environment.settle()
        print(f"An embedded Hub serves {hub.url} from {shown(folder / 'hub')}")
        fill_hub(folder / "base", hub.url, token)
        code = run_recipe(folder / "run")
        if code == 0:
            from localpsych_recipes.demo import users

            users.ask_all(RELEASE, BASE, folder)
            print(f"\nAll of it took {duration(time.monotonic() - started)}.")
    return code


def kept_token(folder: Path) -> str:
    """The same token at every run, so that a second one finds its repositories."""
    (folder / "hub").mkdir(parents=True, exist_ok=True)
    return local_hub.command.kept_token(folder / "hub")


def fill_hub(base: Path, url: str, token: str) -> None:
    """Puts the base and the dataset on the Hub, once."""
    from huggingface_hub import HfApi

    from localpsych_recipes.demo import tiny_gemma4

    api = HfApi(endpoint=url, token=token)
    if not base.exists():
        print("A tiny Gemma 4 is made and taught a little English, about a minute:")
        tiny_gemma4.make(base)
    put(api, BASE, "model", {p.name: p for p in base.iterdir()})
    data = Path(__file__).with_name("data")
    put(api, DATASET, "dataset", {name: data / name for name in DATASET_FILES})


def put(api, repo_id: str, repo_type: str, files: dict[str, Path]) -> None:
    """One commit with the files; none where they are there already."""
    from huggingface_hub import CommitOperationAdd

    api.create_repo(repo_id, repo_type=repo_type, private=True, exist_ok=True)
    operations = [CommitOperationAdd(name, path) for name, path in sorted(files.items())]
    commit = api.create_commit(repo_id, operations, repo_type=repo_type, commit_message="Add files")
    print(f"{repo_type} {repo_id} is on the Hub at {commit.oid[:12]}")


def run_recipe(folder: Path) -> int:
    """The one command, as a user types it."""
    recipe = resource("recipes", "demo.yaml")
    launch = ["accelerate", "launch", "-m", "localpsych_recipes", shown(recipe), "--run-dir", shown(folder)]
    print(f"\n$ {' '.join(launch)}", flush=True)
    binary = str(Path(sys.executable).with_name("accelerate"))
    # --num_processes 1 and the like come from the launcher's own defaults; said here to keep it from warning
    defaults = ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return subprocess.run([binary, "launch", *defaults, *launch[2:]]).returncode


def shown(path: Path) -> str:
    """A path as short as it can be typed from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
