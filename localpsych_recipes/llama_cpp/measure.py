"""What llama-perplexity and llama-imatrix measure. Their exit status says little: what counts is what they have said."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp.process import ToolError, environment, finished, run
from localpsych_recipes.machine import cores
from localpsych_recipes.serving import last_lines

EXACT = ("--flash-attn", "off", "--no-repack")  # on a CPU: the sums do not depend on what is computed beside them
BATCH = 512  # tokens that are computed at once; of a batch all logits are in memory, 4 bytes x vocabulary for each
FEWEST = 100  # scored tokens below which llama-perplexity gives no statistics; as in recipe/verify.py
# a tool may end before its own thread has written its last lines, mostly on busy cores with a tiny model (common_log_main
# in llama.cpp's common/log.cpp): what is missing then is there in another run
ATTEMPTS = 20


@dataclass(frozen=True)
class Divergence:
    """From one model to another over n scored tokens, nats.

    kl: mean of KL(from || to); kl_999, kl_max: its 99.9th percentile and maximum; top1: share of tokens at which both find
    the same token likeliest; loss_from, loss_to: mean negative log-likelihood of the text; perplexity_ratio: exp of their
    difference; logit_max, logit_mean: absolute difference of the logits, None where only probabilities are known.
    """

    n: int
    kl: float
    kl_999: float
    kl_max: float
    top1: float
    loss_from: float
    loss_to: float
    perplexity_ratio: float
    logit_max: float | None = None
    logit_mean: float | None = None


def reference(perplexity: Path, gguf: Path, text: Path, out: Path, *, context: int, chunks: int, gpu: bool) -> None:
    """See LlamaCpp.reference."""
    with finished(out) as partial:
        asked = ["--file", text, "--kl-divergence-base", partial, "--chunks", chunks]
        command = _command(perplexity, gguf, context, gpu, *asked)
        said = _said(command, lambda said: not _whole(partial) or _perplexity(said, partial) is not None)
        _refuse_short(text, context, said)
        found = _perplexity(said, partial)
        if found is None or not _whole(partial):  # on a full disk it goes on, and ends well
            raise _unfinished(perplexity, said, f"log-probabilities of up to {chunks} pieces of {context} tokens")
        append_loss(partial, math.log(found))


def divergence(perplexity: Path, gguf: Path, file: Path, *, context: int, lora: Path | None, gpu: bool) -> Divergence:
    """See LlamaCpp.divergence."""
    header = Header.of(file)
    if header.scored < FEWEST:
        raise UserError(f"a reference of {header.scored} scored tokens", f"at least {FEWEST}", "compare on more text")
    asked = ["--kl-divergence-base", file, "--kl-divergence", *(("--lora", lora) if lora else ())]
    said = _said(_command(perplexity, gguf, context, gpu, *asked), lambda said: f"{STATISTICS[-1]}:" in said)
    # of another vocabulary it says so and goes on, comparing one token's probability with another's
    if "inconsistent vocabulary" in said or len(found := _statistics(said)) != len(STATISTICS):
        raise _unfinished(perplexity, said, "all of its statistics, as finite numbers, of the same vocabulary")
    loss_from, loss_to = _loss(file, header) or math.log(found["Mean PPL(base)"]), math.log(found["Mean PPL(Q)"])
    return Divergence(
        n=header.scored,
        kl=found["Mean    KLD"],
        kl_999=found["99.9%   KLD"],
        kl_max=found["Maximum KLD"],
        top1=found["Same top p"] / 100,
        loss_from=loss_from,
        loss_to=loss_to,
        perplexity_ratio=math.exp(loss_to - loss_from),
    )


STATISTICS = ("Mean PPL(Q)", "Mean PPL(base)", "Mean    KLD", "Maximum KLD", "99.9%   KLD", "Same top p")


@dataclass(frozen=True)
class Header:
    """What a reference's first 20 bytes say: pieces of `context` tokens, of which a half is scored, and the vocabulary."""

    context: int
    vocab: int
    pieces: int

    @classmethod
    def of(cls, file: Path) -> Header:
        """Of a file that is too short to have one, of no pieces."""
        with file.open("rb") as stream:
            head = stream.read(20)
        return cls(*struct.unpack("<3i", head[8:])) if len(head) == 20 else cls(0, 0, 0)

    @property
    def scored(self) -> int:
        return self.pieces * (self.context - 1 - self.context // 2)

    @property
    def size(self) -> int:
        """Bytes of the whole file: header, ids, and for each scored token two floats and 16 bits for each other one."""
        return 20 + 4 * self.pieces * self.context + 2 * self.scored * (4 + self.vocab + self.vocab % 2)


def append_loss(file: Path, loss: float) -> None:
    """Puts the exact loss of a reference's model behind what llama-perplexity reads of it.

    Its 16 bits end 16 nats below the likeliest token, so that a loss that is summed from them is too small wherever the
    text surprises more, and the perplexity of the very same model through it would be above 1.
    """
    with file.open("ab") as stream:
        stream.write(struct.pack("<d", loss))


def _loss(file: Path, header: Header) -> float | None:
    """What `append_loss` put there; None in a file of other making."""
    with file.open("rb") as stream:
        stream.seek(header.size)
        tail = stream.read(9)
    return struct.unpack("<d", tail)[0] if len(tail) == 8 else None


def imatrix(tool: Path, gguf: Path, text: Path, out: Path, *, context: int, gpu: bool) -> int:
    """See LlamaCpp.imatrix."""
    from gguf import GGUFReader

    with finished(out) as partial:
        # the tool writes the name of the text as it is given into the matrix, and from there it comes into each quant
        asked = ["--file", text.name, "--output", partial.absolute(), "--parse-special", "--no-ppl"]
        command = _command(tool, gguf.absolute(), context, gpu, *asked)
        try:
            said = run(command, env=environment(), cwd=text.parent)
        except ToolError as error:
            _refuse_short(text, context, error.given)
            raise
        try:
            pieces = GGUFReader(partial).fields["imatrix.chunk_count"].contents()
        except (OSError, LookupError, ValueError):  # not there, or cut short
            raise _unfinished(tool, said, "an importance matrix") from None
    return pieces * context


def _command(tool: Path, gguf: Path, context: int, gpu: bool, *more: str | Path | int) -> list[str]:
    batch = max(1, BATCH // context) * context  # whole pieces
    sizes = ["--model", gguf, "--ctx-size", context, "--batch-size", batch, "--threads", cores()]
    quiet = ["--verbosity", 1]  # results and errors
    return [str(part) for part in (tool, *sizes, *quiet, *(() if gpu else EXACT), *more)]


def _said(command: list[str], complete: Callable[[str], bool]) -> str:
    """What a tool says, to its last line; asked again where that is missing and nothing says why."""
    for _ in range(ATTEMPTS):
        said = run(command, env=environment())
        # not any nan: of the first piece of equal models it says that their ratio's error is one
        if complete(said) or re.search(r"^[\d.]+ E |^Mean.*: +-?nan", said, re.MULTILINE):
            break
    return said


def _whole(reference: Path) -> bool:
    return reference.is_file() and reference.stat().st_size == Header.of(reference).size


def _perplexity(said: str, reference: Path) -> float | None:
    """That of the whole text, which is said of each piece and all before it."""
    pieces = Header.of(reference).pieces if reference.is_file() else 0
    match = re.search(rf"\[{pieces}\](\d+\.\d+),", said)
    return float(match[1]) if match else None


def _statistics(said: str) -> dict[str, float]:
    """The lines of STATISTICS that hold a finite number."""
    found = ((name, re.search(rf"^{re.escape(name)}\s*: +(-?\d+\.\d+)", said, re.MULTILINE)) for name in STATISTICS)
    return {name: float(match[1]) for name, match in found if match}


def _refuse_short(text: Path, context: int, said: str) -> None:
    if match := re.search(r"tokenizes to only (\d+) tokens", said):
        raise UserError(
            f"{text.name}: {match[1]} tokens",
            f"at least {2 * context}, two pieces of {context}",
            "use more text, or shorter pieces",
        )


def _unfinished(tool: Path, said: str, expected: str) -> ToolError:
    return ToolError(f"{tool.name} did not finish: {last_lines(said)}", expected, "read its lines above")
