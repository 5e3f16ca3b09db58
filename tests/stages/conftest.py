"""What the tests of the training stages share."""

from pathlib import Path

import pytest

from localpsych_recipes.demo import tiny_gemma4


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """A tiny Gemma 4 that has learnt nothing."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    tiny_gemma4.make(folder, steps=1, say=lambda text: None)
    return folder
