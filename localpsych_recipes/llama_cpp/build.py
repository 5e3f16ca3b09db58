"""The pinned source of llama.cpp: fetched, checked and built into the user's cache, once for each kind of CPU.

The source is the copy inside the source distribution of llama-cpp-python: a registry keeps it for good under one hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from localpsych_recipes.errors import UserError
from localpsych_recipes.machine import cores
from localpsych_recipes.serving import last_lines

Say = Callable[[str], None]

PROJECT, VERSION = "llama-cpp-python", "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
COMMIT = "0c1e570"  # of llama.cpp, as .git/modules/vendor/llama.cpp/HEAD in that archive says
INSIDE = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"

SCRIPTS = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py")
BINARIES = ("llama-quantize", "llama-perplexity", "llama-imatrix", "llama-server")
KEPT = (*SCRIPTS, "conversion", "gguf-py", "LICENSE", "AUTHORS", "licenses")

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",  # four files that can be copied and need no library path
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",  # cmake would download it
    f"-DLLAMA_BUILD_COMMIT={COMMIT}",  # else cmake asks git, which may answer for a repository around the cache
    "-DLLAMA_BUILD_NUMBER=1",
)
# Changes to the source: file -> text that stands there once, and its replacement. llamafile's kernels leave a token that
# comes alone to other ones, whose sums differ in their last bits, so that what llama-server samples depended on which
# other requests it answered at that moment; without this line it follows from the request alone. The other two tools end
# before the thread that writes their last lines has, the very figures that they were asked for.
_END = "    llama_perf_context_print(ctx);\n"
_FLUSHED = "    common_log_flush(common_log_main());\n" + _END
PATCHES = {
    "ggml/src/ggml-cpu/llamafile/sgemm.cpp": ("    if (n < 2)\n", "    if (n < 1)\n"),
    "tools/imatrix/imatrix.cpp": (_END, _FLUSHED),
    "tools/perplexity/perplexity.cpp": (_END, _FLUSHED),
}
NEEDED = {"cmake": "cmake", "make": "make", "cc": "gcc", "c++": "g++"}  # program -> Debian package


def tell(text: str) -> None:
    """Prints at once, into a pipe too: a build takes minutes."""
    print(text, flush=True)


def cache() -> Path:
    """The project's folder in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "localpsych-recipes"


def ensure(say: Say = tell, *, binaries: bool = True) -> Path:
    """The folder that holds the tools (binaries=False: the converter scripts alone), made first if it is not there.

    Safe to call from several processes at once: one makes it, the others wait. Raises UserError if it cannot be made.
    """
    tree = place(binaries)
    if not tree.is_dir():
        with locked(tree.with_name(f"{tree.name}.lock"), say):
            if not tree.is_dir():
                _make(tree, say, binaries)
    return tree


def place(binaries: bool) -> Path:
    """Where `ensure` puts it."""
    # a build uses every instruction of its CPU, and a home directory may be shared by machines with other ones
    made = hashlib.sha256(repr((SHA256, OPTIONS, PATCHES)).encode()).hexdigest()[:8]
    return cache() / f"llama.cpp-{VERSION}-{made}-{_cpu() if binaries else 'scripts'}"


def _cpu() -> str:
    """Eight characters that stand for the CPU's instruction set."""
    try:
        features = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        features = None
    words = sorted(features[1].split()) if features else [platform.machine()]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]


@contextmanager
def locked(path: Path, say: Say) -> Iterator[None]:
    """Holds the lock file; waits, after saying so, while another process holds it. A dead process holds nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"llama.cpp: another process is building it ({path}); waiting for that")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(tree: Path, say: Say, binaries: bool) -> None:
    if binaries:
        check_compilers()
    work = tree.with_name(f"{tree.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    say(f"llama.cpp: fetching the source, {PROJECT} {VERSION} (77 MB)")
    source = unpack(fetch(work), work / "source")
    if binaries:
        patch(source)
        minutes = f"{10 / cores():.0f} minutes on {cores()} cores"  # measured: 5 minutes on 2
        say(f"llama.cpp: building its tools into {tree}, once; about {minutes}")
        _compile(source, work / "build", say)
    _assemble(source, work / "build" / "bin", work / "tree", binaries)
    os.rename(work / "tree", tree)
    shutil.rmtree(work)


def check_compilers() -> None:
    """UserError if a program that the build needs is not on the PATH."""
    if missing := [program for program in NEEDED if not shutil.which(program)]:
        packages = " ".join(dict.fromkeys(NEEDED[program] for program in missing))
        raise UserError(
            f"no {', '.join(missing)} on the PATH",
            "a C and C++ compiler, cmake and make, to build llama.cpp's tools",
            f"apt-get install {packages} (Debian, Ubuntu), or point LLAMA_CPP_HOME at a built llama.cpp",
        )


def fetch(folder: Path) -> Path:
    """Downloads the source archive into `folder` with pip, from wherever this machine's pip gets its packages.

    pip asks the archive's build backend for its metadata, which compiles nothing. Raises UserError if pip fails
    or the archive is another one than the pinned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PROJECT}=={VERSION} --hash=sha256:{SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PROJECT]
    run = subprocess.run([*pip, "-r", wanted, "-d", folder], capture_output=True, text=True, errors="replace")
    if run.returncode:
        raise UserError(
            f"pip could not fetch {PROJECT} {VERSION}: {last_lines(run.stderr or run.stdout)}",
            f"its source archive with sha256 {SHA256}",
            "mend pip (python -m ensurepip) or its access to an index, or point LLAMA_CPP_HOME at a built llama.cpp",
        )
    return checked(next(folder.glob("*.tar.gz")))


def checked(archive: Path) -> Path:
    """The archive itself, once its sha256 is the pinned one; else UserError."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise UserError(
            f"{archive.name} with sha256 {found}",
            f"sha256 {SHA256}",
            "do not use it: delete pip's cache (pip cache purge) and try again; ask who serves your package index",
        )
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks llama.cpp's own tree, and nothing else of the archive, into `folder`."""
    with tarfile.open(archive) as tar:
        # Python before 3.11.4 has no filters; the archive's hash is checked in any case
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        for member in tar:
            name = member.name.removeprefix(INSIDE)
            if name != member.name and name != ".git":
                member.name = name
                tar.extract(member, folder)
    return folder


def patch(source: Path) -> None:
    """Makes the changes of PATCHES. UserError where a text is not there once, as in another version of the source."""
    for name, (old, new) in PATCHES.items():
        text = (source / name).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise UserError(
                f"{name} of llama.cpp {COMMIT} is not as it was", f"{old.strip()!r} in it, once", "report this"
            )
        (source / name).write_text(text.replace(old, new), encoding="utf-8")


def _compile(source: Path, build: Path, say: Say) -> None:
    build.mkdir()
    # by name, since CMAKE_GENERATOR may ask for one that prints no per cent and is not installed
    _cmake(["-G", "Unix Makefiles", "-S", source, "-B", build, *OPTIONS], build, lambda line: None)
    jobs = f"-j{cores() + 1}"
    _cmake(["--build", build, jobs, "--target", *BINARIES], build, progress(say))


def _cmake(arguments: list[str | Path], build: Path, each_line: Say) -> None:
    lines: list[str] = []
    command = ["cmake", *map(str, arguments)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen(command, **output) as run:
        for line in run.stdout or ():
            lines.append(line)
            each_line(line)
    (build / "build.log").write_text("".join(lines))
    if run.returncode:
        said = [line for line in lines if "error:" in line] or lines  # the compiler's words, not make's after them
        raise UserError(
            f"llama.cpp did not build: {last_lines(''.join(said))}",
            "cmake to end with status 0",
            f"read {build / 'build.log'}; with little memory, close other programs and try again",
        )


def progress(say: Say, clock: Callable[[], float] = time.monotonic) -> Say:
    """Takes make's lines ("[ 42%] Building ..."); says every tenth per cent, with the minutes that are left."""
    start, said = clock(), 0

    def each_line(line: str) -> None:
        nonlocal said
        percent = int(match[1]) if (match := re.match(r"\[\s*(\d+)%\]", line)) else 0
        if percent >= said + 10:
            said = percent - percent % 10
            left = (clock() - start) * (100 - percent) / percent / 60  # minutes
            say(f"llama.cpp: {percent} % built" + (f", about {left:.0f} min to go" if percent < 100 else ""))

    return each_line


def _assemble(source: Path, built: Path, tree: Path, binaries: bool) -> None:
    """What is used and its licences, without sources and objects."""
    tree.mkdir()
    for name in KEPT:
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy2
        copy(source / name, tree / name)
    if binaries:
        (tree / "bin").mkdir()
        for name in BINARIES:
            shutil.copy2(built / name, tree / "bin" / name)
