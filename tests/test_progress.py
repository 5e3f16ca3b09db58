"""Long work says now and then how far it is, short work nothing."""

from localpsych_recipes.progress import SECONDS_BETWEEN, Progress


def said_after(seconds: float, *progress: int, unit: str = "rows", before: int = 0) -> list[str]:
    lines: list[str] = []
    work = Progress(lines.append, "read", unit, before)
    work.started -= seconds
    work.last -= seconds
    work(*progress)
    return [line.strip() for line in lines]


def test_short_work_says_nothing():
    assert said_after(SECONDS_BETWEEN - 1, 5000, 10000) == []


def test_what_is_left_is_estimated_from_what_is_done():
    assert said_after(60, 5000, 10000) == ["read 5,000 of 10,000 rows, about 1 min 0 s left"]


def test_what_an_earlier_run_has_done_makes_this_one_no_faster():
    assert said_after(60, 9500, 10000, before=9000) == ["read 9,500 of 10,000 rows, about 1 min 0 s left"]
    assert said_after(60, 9000, 10000, before=9000) == []


def test_bytes_have_a_prefix_each():
    assert said_after(60, 400_000_000, 1_600_000_000, unit="bytes") == ["read 400.0 MB of 1.6 GB, about 3 min 0 s left"]


def test_where_nobody_knows_how_much_it_is_what_is_done_is_said():
    assert said_after(60, 5000) == ["read 5,000 rows"]
