"""The demo's recipe under kills: python -m tests.chaos --kills 50 --seed 1

Runs it once undisturbed, then with seeded SIGKILL, SIGTERM and SIGINT in every stage, the same command again after each,
and compares all that is left. Exit code 1 if a fault was not survived.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos import ground, kills
from tests.chaos.kills import SIGNALS, STAGES, Injected

COMMAND = "python -m tests.chaos --kills {kills} --seed {seed} --only {number}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of stages' moments and signals (default: 1)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="of the same plan, this fault alone")
    parser.add_argument("--folder", type=Path, help="where the runs lie, kept; else a temporary one")
    args = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    if args.folder:
        args.folder.mkdir(parents=True)
        return chaos(args, args.folder)
    with tempfile.TemporaryDirectory(prefix="localpsych-chaos-") as folder:
        return chaos(args, Path(folder))


def chaos(args: argparse.Namespace, folder: Path) -> int:
    faults = [f for f in kills.plan(args.kills, args.seed) if args.only in (None, f.number)]
    with ground.world(folder) as world:
        began = time.monotonic()
        world.run(folder / "undisturbed", settings=ground.SMALLEST)
        print(f"undisturbed: {time.monotonic() - began:.0f} s")
        wanted, seconds = ground.outcome(world, folder / "undisturbed"), stage_seconds(folder / "undisturbed")
        other = ground.elsewhere(world, "elsewhere")
        found = list(kills.chain(other, folder / "killed", faults, seconds, print))
        differing = differences(wanted, ground.outcome(other, folder / "killed"))
    print("", *table(found), sep="\n")
    for one in (one for one in found if one.wrong):
        print(
            f"\nlost: {COMMAND.format(kills=args.kills, seed=args.seed, number=one.fault.number)}", *one.wrong, sep="\n"
        )
    print(
        "\nwhat is left differs:" if differing else "\nwhat is left equals the undisturbed run's", *differing, sep="\n"
    )
    return int(bool(differing) or len(found) < len(faults) or any(one.wrong for one in found))


def stage_seconds(run_dir: Path) -> dict[str, float]:
    """That each stage took."""
    return {p.stem: json.loads(p.read_text())["seconds"] for p in (run_dir / "reports").glob("*.json")}


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two outcomes differ, both values shown in short."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        return [line for key in keys for line in differences(one.get(key), other.get(key), f"{where}/{key}")]
    if isinstance(one, str) and isinstance(other, str) and "\n" in one:
        pairs = zip(one.splitlines(), other.splitlines(), strict=False)
        return [line for n, (a, b) in enumerate(pairs, 1) for line in differences(a, b, f"{where}:{n}")]
    return [] if one == other else [f"{where}: {str(one)[:200]} | {str(other)[:200]}"]


def table(found: list[Injected]) -> list[str]:
    """Faults injected by stage and signal, and how many of all were survived."""
    injected = [one for one in found if one.stage]
    counts = Counter((one.stage, one.fault.signal) for one in injected)
    rows = [("stage", *(s.name for s in SIGNALS))]
    rows += [(stage, *(str(counts[stage, s]) for s in SIGNALS)) for stage in STAGES]
    lost = sum(bool(one.wrong) for one in injected)
    total = f"{len(injected)} injected, {len(injected) - lost} survived, {lost} lost"
    return [*("  ".join(cell.ljust(9) for cell in row).rstrip() for row in rows), total]


if __name__ == "__main__":
    sys.exit(main())
