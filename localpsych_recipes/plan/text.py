"""A plan as plain text: what is known, each sum with its terms, the verdict, and what has not been verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from localpsych_recipes import lora
from localpsych_recipes.plan import speed
from localpsych_recipes.plan.fit import Verdict
from localpsych_recipes.plan.memory import CONTEXT, SLACK, Line
from localpsych_recipes.plan.rows import Unknown
from localpsych_recipes.progress import amount, duration

if TYPE_CHECKING:
    from localpsych_recipes.plan import Plan, StagePlan

GiB = 2**30


def render(plan: Plan) -> str:
    """One block a subject, its lines aligned."""
    anatomy = plan.anatomy
    blocks = {
        "base": [f"{plan.base} ({plan.architecture})"],
        "adapter": [
            f"{len(anatomy.targets.modules)} modules: {_tally(anatomy.targets.modules)}",
            lora.trainable_line(anatomy.trainable, anatomy.total),
        ],
        "left out": [f"{g.count} {g.reason} (such as {g.example})" for g in anatomy.targets.left_out],
        **({"pairs": plan.pairs} if plan.pairs else {}),
        **({"evaluate": plan.evaluation} if plan.evaluation else {}),
        "training rows": [f"{stage}: {_number(made.rows)}" for stage, made in plan.stages.items()],
        "steps": [f"{stage}: {_number(made.steps)}" for stage, made in plan.stages.items()],
        "tokens": [f"{stage}: {_tokens(made)}" for stage, made in plan.stages.items()],
        "trained tokens": [_number(plan.trained_tokens)],
        "GPU": list(_gpu(plan)),
        **{f"{stage} memory": list(_memory(made)) for stage, made in plan.stages.items()},
        **{f"{stage} verdict": list(_verdict(made.verdict)) for stage, made in plan.stages.items() if made.verdict},
        "time": [*(f"{stage}: {_time(made)}" for stage, made in plan.stages.items()), *_assumed(plan)],
        "verified": list(_verified(plan)),
        "download": [f"{what}: {_number(size, 'bytes')}" for what, size in plan.downloads.items()],
        "disk": [
            *_sum(plan.disk),
            f"= {amount(sum(line.bytes for line in plan.disk), 'bytes')} beside the Hub's cache",
        ],
        "files": plan.files,
        "repositories": [f"{name} ({'private' if hidden else 'PUBLIC'})" for name, hidden in plan.repositories.items()],
        "licences": plan.licences,
    }
    return "\n".join([f"{plan.name}, on one process", *_aligned(blocks)])


def _tokens(made: StagePlan) -> str:
    known = made.tokens
    each = f"{known.each_step:,.0f} an optimiser step, rows of at most {known.longest:,}"
    whole = "" if isinstance(made.steps, Unknown) else f", {known.each_step * made.steps:,.0f} in all"
    return each + whole + ("" if known.measured else " (upper bound: every row taken as long as max_length)")


def _gpu(plan: Plan) -> Iterator[str]:
    gpu = plan.gpu
    if gpu is None:
        yield 'none on this machine; `--gpu "RTX 3050 Ti"` or `--gpu 16GB` asks for one'
        return
    yield f"{gpu.name}: {gpu.memory / GiB:.1f} GiB for programs"
    if gpu.tflops:
        yield f"{gpu.tflops:g} TFLOP/s in 16 bit, dense; {gpu.bandwidth:,} GB/s ({gpu.source})"
    yield from plan.limits


def _memory(made: StagePlan) -> Iterator[str]:
    memory = made.memory
    yield from _sum(memory.lines)
    yield f"= {amount(memory.allocated, 'bytes')} allocated at the peak"
    yield (
        f"+ {SLACK:.0%} for the allocator and {CONTEXT / GiB:g} GiB for CUDA (assumed) "
        f"= {memory.needed / GiB:.2f} GiB on the GPU"
    )
    yield f"host: {amount(memory.host, 'bytes')}: " + "; ".join(
        f"{line.what} {amount(line.bytes, 'bytes')}, {line.how}" for line in memory.host_lines
    )
    yield from memory.notes


def _verdict(verdict: Verdict) -> Iterator[str]:
    has = f"{verdict.needed / GiB:.2f} GiB needed, {verdict.gpu.name} has {verdict.gpu.memory / GiB:.2f}"
    warning = ": one longer row, or another program, can end the run" if verdict.says == "tight" else ""
    yield f"{verdict.says.upper()}: {has}{warning}"
    if verdict.tries:
        yield "changes, each on top of those before it:"
    for tried in verdict.tries:
        yield f"  {tried.change}: {tried.needed / GiB:.2f} GiB, {'fits' if tried.fits else 'does not fit'}"
    if verdict.otherwise:
        yield "none of these makes it fit" if verdict.tries else "nothing here makes it smaller"
    yield from verdict.otherwise


def _time(made: StagePlan) -> str:
    if made.seconds is None:
        unknown = isinstance(made.steps, Unknown)
        return "unknown (" + ("the steps are not known" if unknown else "no GPU with published figures is named") + ")"
    bound = "" if made.tokens.measured else ", at most, since rows may be shorter"
    return f"about {duration(made.seconds)}{bound}"


def _assumed(plan: Plan) -> Iterator[str]:
    if any(made.seconds is not None for made in plan.stages.values()):
        shares = ", ".join(f"{share:.0%} with {kind}" for kind, share in speed.EFFICIENCY.items())
        yield f"share of the published rate, assumed: {shares}; batches of a few hundred tokens take longer"


def _verified(plan: Plan) -> Iterator[str]:
    runs = [run for made in plan.stages.values() for run in made.measured]
    for run in runs:
        yield (
            f"{run.stage} on {run.gpu}: planned {amount(run.planned_bytes, 'bytes')}, measured "
            f"{amount(run.measured_bytes, 'bytes')}; planned {duration(run.planned_seconds)}, measured "
            f"{duration(run.measured_seconds)}"
        )
    if not runs:
        yield speed.UNVERIFIED


def _sum(lines: Sequence[Line]) -> list[str]:
    return [f"{amount(line.bytes, 'bytes'):>10}  {line.what}: {line.how}" for line in lines]


def _aligned(blocks: Mapping[str, Iterable[str]]) -> Iterable[str]:
    width = max(len(title) for title in blocks) + 2
    for title, lines in blocks.items():
        for number, line in enumerate(lines or ["none"]):
            yield f"  {'' if number else title:<{width}}{line}"


def _tally(modules: Iterable[str]) -> str:
    return ", ".join(f"{count} {end}" for end, count in Counter(name.rpartition(".")[2] for name in modules).items())


def _number(value: int | Unknown, unit: str = "") -> str:
    return str(value) if isinstance(value, Unknown) else amount(value, unit).strip()
