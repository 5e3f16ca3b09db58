"""The one family of errors that a user's mistake ends in: what was given, what was expected, what to do."""

from __future__ import annotations


def visible(text: str, keep: str = "") -> str:
    """Text in which what a terminal acts on, or nobody sees, is written out: escapes, turns of direction, halves of
    characters. keep: characters that stay all the same, such as the ends of a message's own lines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class UserError(Exception):
    """A mistake or a lack that the user can mend. Printed as one message, exit code 2, never as a traceback.

    given:    what was found, in the user's own terms (a key, a path, a status), never training text.
    expected: what would have been right.
    do:       the next thing to do.
    """

    exit_code = 2

    def __init__(self, given: str, expected: str, do: str) -> None:
        self.given, self.expected, self.do = given, expected, do
        super().__init__(visible(f"{given}\n  expected: {expected}\n  do: {do}", keep="\n"))
