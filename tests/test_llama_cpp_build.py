"""The pinned source: fetched, checked, built and put in place once. A small CMake project stands for llama.cpp's."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from localpsych_recipes.errors import UserError
from localpsych_recipes.llama_cpp import build

PROGRAM = "int main(void) { return 0; }\n"
CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(stand_in C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
"""


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "localpsych-recipes"


@pytest.fixture
def archive(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a source archive laid out as the pinned one, whose four programs are `program`."""

    def write(program: str) -> Path:
        root = tmp_path / "sdist"
        source = root / build.INSIDE
        for name in build.KEPT:
            folder = source / name if "." not in name and name.islower() else source
            folder.mkdir(parents=True, exist_ok=True)
            (folder / (name if folder == source else "file")).write_text(name)
        (source / ".git").write_text("gitdir: elsewhere")
        (source / "main.c").write_text(program)
        for name, (old, _) in build.PATCHES.items():
            (source / name).parent.mkdir(parents=True)
            (source / name).write_text(f"before\n{old}after\n")
        targets = "\n".join(f"add_executable({name} main.c)" for name in build.BINARIES)
        (source / "CMakeLists.txt").write_text(f"{CMAKE}\n{targets}\n")
        (root / "outside.py").write_text("not of llama.cpp")
        path = tmp_path / "source.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for child in root.iterdir():
                tar.add(child, child.name)
        return path

    return write


def test_the_tools_are_built_once_and_appear_whole(cache, archive, monkeypatch):
    monkeypatch.setattr(build, "fetch", lambda folder: archive(PROGRAM))
    said: list[str] = []
    tree = build.ensure(said.append)
    assert {path.name for path in tree.iterdir()} == {*build.KEPT, "bin"}
    assert {path.name for path in (tree / "bin").iterdir()} == set(build.BINARIES)
    assert subprocess.run([tree / "bin" / "llama-server"]).returncode == 0
    assert said[0].startswith("llama.cpp: fetching") and "100 % built" in said[-1]
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [tree.name]

    said.clear()
    assert build.ensure(said.append) == tree and not said


def test_a_build_that_fails_shows_the_compilers_words_and_puts_nothing_in_place(cache, archive, monkeypatch):
    monkeypatch.setattr(build, "fetch", lambda folder: archive('#error "no such luck"\n'))
    with pytest.raises(UserError, match="no such luck") as error:
        build.ensure(lambda line: None)
    assert not build.place(binaries=True).exists()
    assert "build.log" in error.value.do


def test_the_scripts_alone_need_no_compiler(cache, archive, monkeypatch, clean_path):
    monkeypatch.setattr(build, "fetch", lambda folder: archive(PROGRAM))
    tree = build.ensure(lambda line: None, binaries=False)
    assert {path.name for path in tree.iterdir()} == set(build.KEPT)


def test_a_machine_without_compilers_is_told_what_to_install_before_anything_is_fetched(cache, clean_path):
    said: list[str] = []
    with pytest.raises(UserError, match="apt-get install cmake make gcc g[+][+]"):
        build.ensure(said.append)
    assert not said


def test_the_source_is_changed_where_the_change_belongs_and_nowhere_else(archive, tmp_path):
    source = build.unpack(archive(PROGRAM), tmp_path / "source")
    build.patch(source)
    for name, (_, new) in build.PATCHES.items():
        assert (source / name).read_text() == f"before\n{new}after\n"
    with pytest.raises(UserError, match="not as it was"):
        build.patch(source)


def test_other_options_and_changes_are_built_anew(cache, monkeypatch):
    before = build.place(binaries=True)
    monkeypatch.setattr(build, "PATCHES", {})
    assert build.place(binaries=True) != before


def test_only_llama_cpps_own_part_is_unpacked(archive, tmp_path):
    folder = build.unpack(archive(PROGRAM), tmp_path / "unpacked")
    patched = {Path(name).parts[0] for name in build.PATCHES}
    assert {path.name for path in folder.iterdir()} == {*build.KEPT, "main.c", "CMakeLists.txt", *patched}


def test_pip_refuses_another_archive_of_the_same_name(tmp_path, monkeypatch):
    index = tmp_path / "index"
    index.mkdir()
    with tarfile.open(index / f"llama_cpp_python-{build.VERSION}.tar.gz", "w:gz") as tar:
        tar.add(__file__, f"llama_cpp_python-{build.VERSION}/setup.py")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="(?s)could not fetch.*DO NOT MATCH THE HASHES"):
        build.fetch(tmp_path / "download")
    assert not list((tmp_path / "download").glob("*.tar.gz"))


def test_an_archive_that_pip_let_pass_is_refused_too(tmp_path):
    (tmp_path / "source.tar.gz").write_bytes(b"abc")
    # sha256 of "abc": FIPS 180-2, appendix B.1
    with pytest.raises(UserError, match="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"):
        build.checked(tmp_path / "source.tar.gz")


HOLD = """
import sys
from localpsych_recipes.llama_cpp import build
tree = build.place(binaries=True)
with build.locked(tree.with_name(tree.name + ".lock"), print):
    print("held", flush=True)
    sys.stdin.readline()
    tree.mkdir()
"""


@pytest.fixture
def builder(cache):
    """Another process in the middle of a build; it puts the tools in place when it reads a line."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD], **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_waits_for_the_first_and_then_uses_what_it_made(builder):
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        builder.communicate("go on\n")

    assert build.ensure(say).is_dir()
    assert len(said) == 1 and "waiting" in said[0]


def test_a_process_that_dies_in_its_build_holds_nobody_up(builder, cache):
    builder.kill()
    builder.wait()
    lock = build.place(binaries=True)
    with build.locked(lock.with_name(f"{lock.name}.lock"), pytest.fail):
        pass


def test_progress_is_told_every_tenth_per_cent_with_the_time_that_is_left():
    seconds = iter([0, 60, 300, 540])
    said: list[str] = []
    each_line = build.progress(said.append, clock=lambda: next(seconds))
    for line in ("[  3%] Building a", "[ 10%] Building b", "warning: c", "[ 19%] Building d", "[ 55%] e", "[100%] f"):
        each_line(line)
    assert said == [  # 60 s for 10 % leave 540 s, 300 s for 55 % leave 245 s
        "llama.cpp: 10 % built, about 9 min to go",
        "llama.cpp: 55 % built, about 4 min to go",
        "llama.cpp: 100 % built",
    ]
