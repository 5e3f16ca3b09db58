"""One embedded Hub and one undisturbed run for all chaos tests."""

import pytest

from tests.chaos import ground
from tests.chaos.__main__ import stage_seconds


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    with ground.world(tmp_path_factory.mktemp("chaos")) as world:
        yield world


@pytest.fixture(scope="session")
def undisturbed(world):
    """What a run leaves that nothing happened to, and the seconds of its stages."""
    run_dir = world.folder / "undisturbed"
    world.run(run_dir, settings=ground.SMALLEST)
    return ground.outcome(world, run_dir), stage_seconds(run_dir)
