"""An embedded Hub: a folder served over the Hugging Face Hub's HTTP API, for offline work and for the tests.

    with LocalHub(folder, tokens={"hf_...": "alice"}) as hub:
        HfApi(endpoint=hub.url, token="hf_...").create_repo("alice/model")

    server.py     sockets, threads, one request after another; LocalHub itself
    routes.py     every address it answers, and who may call it
    accounts.py   tokens and what their owners may do
    repos.py      create, delete, settings, information, card check
    commits.py    preupload, commit, history, tags, branches
    lfs.py        large files on their way up
    files.py      listings and downloads
    store.py      what lies on disk; tree.py, gitfiles.py, cards.py and names.py are its pure rules
    wire.py       requests, responses and the Hub's way of refusing

Plain LFS is the transport: clients set HF_HUB_DISABLE_XET=1, as `LocalHub.environment` does for them.
"""

from localpsych_recipes.local_hub.accounts import Account, new_token
from localpsych_recipes.local_hub.command import main_loop
from localpsych_recipes.local_hub.server import LocalHub

__all__ = ["Account", "LocalHub", "main_loop", "new_token"]
