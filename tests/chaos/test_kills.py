"""A run that is killed, and killed again, ends in what an undisturbed one ends in. (All of it: python -m tests.chaos)"""

from tests.chaos import ground, kills
from tests.chaos.__main__ import differences


def test_killed_five_times_it_goes_on_to_the_same_release(world, undisturbed):
    wanted, seconds = undisturbed
    assert len(wanted["reports"]) == 9 and wanted["left"] == []
    other = ground.elsewhere(world, "elsewhere")
    # SIGTERM in a training, SIGINT in a tool of llama.cpp, SIGKILL in a server, in the cards and in the push
    faults = [fault for fault in kills.plan(50, seed=1) if fault.number in (13, 26, 34, 42, 46)]
    found = list(kills.chain(other, other.folder / "killed", faults, seconds, print))
    assert [one.wrong for one in found] == [()] * len(faults)
    assert differences(wanted, ground.outcome(other, other.folder / "killed")) == []
