"""Long work says now and then how far it is, short work nothing."""

from localpsych_recipes.progress import SECONDS_BETWEEN, Progress


def said_after(seconds: float, *progress: int) -> list[str]:
    lines: list[str] = []
    work = Progress(lines.append, "read", "rows")
    work.started -= seconds
    work.last -= seconds
    work(*progress)
    return [line.strip() for line in lines]


def test_short_work_says_nothing():
    assert said_after(SECONDS_BETWEEN - 1, 5000, 10000) == []


def test_what_is_left_is_estimated_from_what_is_done():
    assert said_after(60, 5000, 10000) == ["read 5,000 rows of 10,000 rows, about 1 min 0 s left"]


def test_where_nobody_knows_how_much_it_is_what_is_done_is_said():
    assert said_after(60, 5000) == ["read 5,000 rows"]
