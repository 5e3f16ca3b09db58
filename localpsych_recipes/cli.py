"""`localpsych VERB`: everything but running a recipe. One short function a verb, each calls one function."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from localpsych_recipes import __version__, crisis_lines, environment, faults, machine, recipe_file, signals
from localpsych_recipes.errors import UserError, visible
from localpsych_recipes.run_lock import RunLock
from localpsych_recipes.rundir import RunDir

RECIPE_HELP = "a YAML file, or the name of one that ships with the package, such as demo (`localpsych fork` lists them)"
ADDRESS_HELP = f"{RECIPE_HELP}, or hf://USER/REPO[@REVISION]"
ORIGIN_HELP = "a YAML file, the name of a shipped recipe, or hf://USER/REPO[@REVISION]; without it these are listed"
RUN_HELP = "a run directory, such as runs/NAME"


def check(args: argparse.Namespace) -> int:
    """Reads recipes without running them; with --resolved prints every key and where its value comes from."""
    from localpsych_recipes import suites

    failed = 0
    for path in args.recipes:
        try:
            recipe, origins = recipe_file.load_with_origins(path, args.set)
            suites.check(recipe.evaluate)
            resolved = recipe_file.dump(recipe, origins).rstrip() if args.resolved else ""
            where = path if recipe_file.is_address(path) else recipe_file.find(path)
            say(resolved or f"{where}: holds ({recipe.name})")
            for line in crisis_lines.warnings(recipe):
                complain(line)
        except UserError as error:
            failed = error.exit_code
            complain(error)
    return failed


def fork(args: argparse.Namespace) -> int:
    """Starts a recipe for a dataset of your own from another recipe; without one lists those that ship."""
    from localpsych_recipes import fork

    if args.origin is None:
        say(fork.shipped())
        return 0
    if not args.dataset or not args.output:
        expected = "localpsych fork ORIGIN --dataset DATASET -o FILE.yaml"
        raise UserError(f"fork {args.origin}, without --dataset or -o", expected, "name both")
    options = {key: getattr(args, key) for key in ("split", "config", "name", "force")}
    say(fork.fork(args.origin, args.dataset, args.output, **options))
    return 0


def data(args: argparse.Namespace) -> int:
    """Says what becomes of a recipe's rows: kept, dropped, repeated, how long. Counts alone, no text."""
    from localpsych_recipes import data_report

    say(data_report.report(recipe_file.load(args.recipe, args.set)))
    return 0


def plan(args: argparse.Namespace) -> int:
    """Says what a recipe would train and make, from configurations alone."""
    from localpsych_recipes import plan

    say(plan.render(plan.plan(recipe_file.load(args.recipe, args.set), gpu=args.gpu)))
    return 0


def pairs(args: argparse.Namespace) -> int:
    """Pages through the candidates of a run's preference pairs, kept and dropped. Texts, in this terminal alone."""
    from localpsych_recipes.pairs import browse

    browse.show(args.run, args.status, args.split, args.degraded, args.list)
    return 0


def hub(args: argparse.Namespace) -> int:
    """Serves an embedded Hub from a folder until Ctrl-C."""
    from localpsych_recipes import local_hub

    return local_hub.main_loop(args.root, args.host, args.port) or 0


def card(args: argparse.Namespace) -> int:
    """Renders the cards of a run directory again."""
    from localpsych_recipes import pipeline
    from localpsych_recipes.stages import card

    place = RunDir(args.run)
    with held(place):
        run = pipeline.Run(recipe_file.load(place.recipe, args.set), place, say=say)
        pipeline.refuse_gaps(run, [pipeline.stage("card")])
        results = card.run(run)
    say("\n".join(f"{place.release(kind).relative_to(place.root)}/README.md" for kind in results["cards"]))
    return 0


def verify(args: argparse.Namespace) -> int:
    """Proves that each file of a run, or of a published release, is the model that was trained."""
    from localpsych_recipes.verification import published

    with nullcontext() if recipe_file.is_address(args.release) else held(RunDir(args.release)):
        return 0 if published.verify(args.release, args.set, say=say) else UserError.exit_code


@contextmanager
def held(place: RunDir) -> Iterator[None]:
    """Around what writes into a run directory. UserError for a folder in which no recipe was started, or a run is."""
    place.refuse_no_run()
    with RunLock(place.root) as lock:
        lock.take()
        yield


def main(argv: list[str] | None = None) -> int:
    if argv is None:  # as a program, not inside another one
        signals.listen()
    args = parser().parse_args(argv)
    environment.settle()
    return guarded(args.verb, args)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="localpsych", description="Recipes for fine-tuning small models: read, fork, plan, serve, render."
    )
    p.add_argument("--version", action="version", version=__version__)
    verbs = p.add_subparsers(required=True, metavar="VERB")

    def verb(function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = verbs.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        sub.set_defaults(verb=function)
        return sub

    sub = verb(check)
    sub.add_argument("recipes", nargs="+", metavar="RECIPE", help=ADDRESS_HELP)
    sub.add_argument("--resolved", action="store_true", help="print the whole recipe, defaults and origins included")
    add_set(sub)
    add_fork(verb(fork))
    sub = verb(data)
    sub.add_argument("recipe", help=ADDRESS_HELP)
    add_set(sub)
    sub = verb(plan)
    sub.add_argument("recipe", help=ADDRESS_HELP)
    sub.add_argument("--gpu", metavar="NAME", help="for this GPU, as in --gpu 'RTX 3050 Ti'; else the one at hand")
    add_set(sub)
    add_pairs(verb(pairs))
    sub = verb(hub)
    sub.add_argument("root", type=Path, help="folder behind the Hub; made if it is not there")
    sub.add_argument("--host", default="127.0.0.1")
    sub.add_argument("--port", type=int, default=8765)
    sub = verb(card)
    sub.add_argument("run", type=Path, help=RUN_HELP)
    add_set(sub)
    sub = verb(verify)
    sub.add_argument(
        "release", metavar="RUN_DIR|hf://USER/REPO", help=f"{RUN_HELP}; or one of a release's repositories"
    )
    add_set(sub)
    return p


def add_fork(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("origin", nargs="?", help=ORIGIN_HELP)
    parser.add_argument("--dataset", help="a dataset on the Hub, a local file or a folder")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the recipe to write")
    parser.add_argument("--split", default="train", help="split to learn from (default: train)")
    parser.add_argument("--config", help="configuration of a Hub dataset with several")
    parser.add_argument("--name", help="of the release (default: the origin's and the dataset's)")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")


def add_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help=RUN_HELP)
    parser.add_argument("--status", nargs="+", default=[], help="kept, dropped, or what --list names (default: all)")
    parser.add_argument("--split", choices=("train", "test"))
    parser.add_argument(
        "--degraded", metavar="KIND", help="made worse in this way: truncate, first_sentence, repetition"
    )
    parser.add_argument("--list", action="store_true", help="only how many there are of each status")


def add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key, as in --set sft.learning_rate=1e-4",
    )


def guarded(function: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Runs a command; a user's mistake, and what the machine runs out of, end as one message and exit code 2."""
    try:
        with signals.raised():
            return function(args)
    except UserError as error:
        complain(error)
        return error.exit_code
    except BrokenPipeError:  # whoever reads, `head` or a pager, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains of it once more at its end
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        complain(signals.SAID)
        return signals.exit_code()
    except Exception as error:
        if not (told := faults.explained(error)):
            raise
        complain(told)
        return told.exit_code


def say(text: str) -> None:
    print(visible(text, keep="\n\t"), flush=True)


def complain(error: object) -> None:
    """Once, whichever ranks have it to say: every one reads the recipe."""
    if machine.first_to_say(str(error)):
        print(visible(f"localpsych: {error}", keep="\n"), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
