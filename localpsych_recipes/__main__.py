"""`accelerate launch -m localpsych_recipes RECIPE`: load, check, run. Nothing else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from localpsych_recipes import signals

if __name__ == "__main__":
    signals.listen()  # the imports below take a second, in which a signal may come

from localpsych_recipes import cli, environment, machine, pipeline, preflight, recipe_file, rundir, summary  # noqa: E402
from localpsych_recipes.errors import UserError  # noqa: E402
from localpsych_recipes.recipe_file import yaml_text  # noqa: E402
from localpsych_recipes.run_lock import RunLock  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 a mistake or a lack that the user can mend, 75 ended by SIGTERM, 130 by SIGINT."""
    return cli.guarded(run, parser().parse_args(argv))


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="localpsych_recipes", description=__doc__)
    p.add_argument("recipe", help=cli.RECIPE_HELP)
    cli.add_set(p)
    p.add_argument("--run-dir", type=Path, help="where everything lies (default: runs/NAME)")
    p.add_argument("--from", dest="first", metavar="STAGE", help="start here; what comes before must be done")
    p.add_argument("--until", dest="last", metavar="STAGE", help="stop after this stage")
    p.add_argument("--only", metavar="STAGE", help="this stage alone")
    p.add_argument("--force", action="store_true", help="do the chosen stages again although they are done")
    p.add_argument("--no-push", dest="push", action="store_false", help="leave the release folders ready, push nothing")
    p.add_argument("--publish-anyway", action="store_true", help="push although gates failed; the cards say which")
    return p


def run(args: argparse.Namespace) -> int:
    environment.settle()
    if recipe_file.is_address(args.recipe):  # its name, its repositories and its consents are another's
        do = f"write a file with `extends: {args.recipe}` and a `name`, or start with `localpsych fork`"
        raise UserError(f"{args.recipe} is a release", "a recipe of your own", do)
    recipe = recipe_file.load(args.recipe, args.set)
    place = rundir.RunDir(args.run_dir or Path("runs") / recipe.name)
    run = pipeline.Run(recipe, place, say=cli.say, publish_anyway=args.publish_anyway)
    choice = pipeline.Choice(args.first, args.last, args.only, args.force, args.push)
    with RunLock(place.root) as lock:
        if run.ranks.main:
            begin(run, choice, lock)
        machine.barrier(run.ranks)
        reports = pipeline.execute(run, choice)
    if run.ranks.main:
        cli.say(summary.table(run, reports))
    return 0


def begin(run: pipeline.Run, choice: pipeline.Choice, lock: RunLock) -> None:
    """On the main process: everything is checked before a folder is made that is not there yet."""
    run.dir.refuse_unusable()
    if run.dir.root.exists():
        lock.take()
        refuse_another(run)
    preflight.check(run, choice)
    lock.take()
    rundir.write_text(run.dir.recipe, recipe_file.dump(run.recipe))


def refuse_another(run: pipeline.Run) -> None:
    """UserError for the run directory of a recipe of another name, whose release this one would overwrite."""
    try:
        before = yaml_text.parse("recipe.yaml", 0, run.dir.recipe.read_text(encoding="utf-8")).values.get("name")
    except (OSError, UserError):  # none was started yet, or its file was damaged: then its stages are known by theirs
        return
    if before != run.recipe.name:
        raise UserError(
            f"{run.dir.root} holds a run of {before}, and this recipe is {run.recipe.name}",
            "a run directory for each recipe; its keys may change, its name stays",
            "name another folder with --run-dir, or give the recipe its name back",
        )


if __name__ == "__main__":
    sys.exit(main())
