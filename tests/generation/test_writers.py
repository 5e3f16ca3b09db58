"""Each value of `server` in a recipe has its engine, and what it lacks is said before hours of work."""

from __future__ import annotations

from pathlib import Path

import pytest

from localpsych_recipes.errors import UserError
from localpsych_recipes.generation import writers
from localpsych_recipes.generation.weights import Weights
from localpsych_recipes.recipe import Base, Judge, Pairs
from tests.test_openai_server import listening

WEIGHTS = Weights(Base(model="someone/tiny"), Path("base"), Path("adapter"), "tiny", "0123")


@pytest.mark.parametrize(
    ("server", "engine", "every_rank"),
    [(None, "transformers", True), ("llama.cpp", "llama.cpp", False), ("vllm", "vllm", False)],
)
def test_who_answers_is_known_by_the_engine_and_the_weights_alone(server, engine, every_rank, tmp_path):
    made = [
        writers.writer(section, asked, WEIGHTS, tmp_path / section, print)
        for section, asked in (
            ("pairs", Pairs(server=server, slots=2, batch_size=3)),
            ("judge", Judge(server=server)),
        )
    ]
    assert {writer.identity for writer in made} == {f"{engine} 0123"}
    assert {(w.name, w.model, w.where, w.every_rank) for w in made} == {(engine, "tiny", "local", every_rank)}
    assert not list(tmp_path.iterdir())


def test_an_address_is_anybody_s_server(tmp_path):
    writer = writers.writer("judge", Judge(server="http://127.0.0.1:9/v1", model="sage"), None, tmp_path, print)
    assert (writer.name, writer.model, writer.identity, writer.every_rank) == ("server", "sage", "server sage", False)


def test_our_own_model_at_an_address_is_known_by_its_weights_too(tmp_path):
    asked = Pairs(server="http://127.0.0.1:9/v1")
    writer = writers.writer("pairs", asked, WEIGHTS, tmp_path, print, as_trained=True)
    assert writer.identity == "server default 0123" and writer.weights is WEIGHTS


def test_what_is_missing_is_said_before_the_work(monkeypatch, clean_path, tmp_path):
    with listening() as listener:
        writers.check("judge", Judge(server=listener.url))
        with pytest.raises(UserError, match="judge.model: 'owl' is not a model of this server"):
            writers.check("judge", Judge(server=listener.url, model="owl"))
        assert not listener.texts
    with pytest.raises(UserError, match="pairs.server: vllm, and no `vllm` on the PATH"):
        writers.check("pairs", Pairs(server="vllm"))
    monkeypatch.delenv("LLAMA_CPP_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="to build llama.cpp's tools"):
        writers.check("pairs", Pairs(server="llama.cpp"))
    with pytest.raises(UserError, match="judge.server is on another machine"):
        writers.check("judge", Judge(server="http://192.0.2.7/v1"))
    writers.check("judge", Judge())
