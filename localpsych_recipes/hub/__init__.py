"""The one door to the Hub: what a revision is, what is fetched, who the user is, what is published.

    client.py      the client itself: a time limit, patience with a Hub that is busy
    answers.py     every answer, before the client sees it: pauses it asks for, headers that become names of files
    failures.py    every failure of the Hub or its client -> one UserError that says what to do
    reading.py     a revision's commit and licence; a model's files, cached
    checking.py    files against the names of their content; which names a file may have
    account.py     the token's user, a release's repositories, what can be known before training
    facts.py       what a plan asks: one configuration, sizes
    publishing.py  a folder -> one atomic commit, checked afterwards, and its tag

Nothing here imports huggingface_hub before it is called.
"""

from localpsych_recipes.hub.account import is_private, preflight, repo_type, repositories, user, whoami
from localpsych_recipes.hub.publishing import LocalFile, Published, local_files, publish
from localpsych_recipes.hub.reading import (
    MODEL_FILES,
    Pin,
    card_license,
    fetch_dataset,
    files,
    pin,
    recipe_file,
    snapshot,
)

__all__ = [
    "MODEL_FILES",
    "LocalFile",
    "Pin",
    "Published",
    "card_license",
    "fetch_dataset",
    "files",
    "is_private",
    "local_files",
    "pin",
    "preflight",
    "publish",
    "recipe_file",
    "repo_type",
    "repositories",
    "snapshot",
    "user",
    "whoami",
]
