"""Every row of the table of routes is called by the real client; each call below is one way to come to some of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, RepoCard, constants
from huggingface_hub.utils import _telemetry, detect_agent
from huggingface_hub.utils._xet import XetFileData, refresh_xet_connection_info

from localpsych_recipes.local_hub.routes import ROUTES

REPO = "alice/model"
LARGE = b"0123456789" * 25_000  # three parts of the fixture's 100,000 bytes, the last one short


def _add(api: HfApi, name: str, content: bytes) -> None:
    api.create_commit(REPO, [CommitOperationAdd(name, content)], commit_message="add")


def regular_file(api: HfApi) -> None:
    _add(api, "config.json", b"{}")


def lfs_file(api: HfApi) -> None:
    _add(api, "small.bin", LARGE[:1000])


def lfs_file_in_parts(api: HfApi) -> None:
    _add(api, "large.bin", LARGE)


def card(api: HfApi) -> None:
    _add(api, "README.md", b"---\nlicense: mit\n---\n")
    RepoCard("---\nlicense: mit\n---\n").validate()


def repositories(api: HfApi) -> None:
    api.create_repo("alice/other", private=True)
    api.update_repo_settings("alice/other", private=False, gated="auto")
    api.delete_repo("alice/other")


def rights(api: HfApi) -> None:
    api.whoami()
    api.auth_check(REPO)
    api.auth_check(REPO, write=True)


def tag_and_branch(api: HfApi) -> None:
    api.create_tag(REPO, tag="v1", tag_message="first")
    api.create_branch(REPO, branch="dev/x")
    api.list_repo_refs(REPO)
    api.delete_branch(REPO, branch="dev/x")
    api.delete_tag(REPO, tag="v1")


def listings(api: HfApi) -> None:
    _add(api, "sub/a.txt", b"a")
    list(api.list_repo_tree(REPO))
    list(api.list_repo_tree(REPO, "sub"))
    api.get_paths_info(REPO, ["sub/a.txt"])
    api.list_repo_commits(REPO)


def information(api: HfApi) -> None:
    api.model_info(REPO)
    api.model_info(REPO, revision="main")


def download(api: HfApi) -> None:
    api.hf_hub_download(REPO, ".gitattributes")


def noise(api: HfApi) -> None:
    detect_agent()
    _telemetry._send_telemetry_in_thread("a/b")


def upload_by_xet(api: HfApi) -> None:
    constants.HF_HUB_DISABLE_XET = False  # the fixture puts it back
    with pytest.raises(ConnectionError, match="404"):
        lfs_file(api)


def download_by_xet(api: HfApi) -> None:
    file = XetFileData(file_hash="0" * 64, refresh_route=f"{api.endpoint}/api/models/{REPO}/xet-read-token/main")
    with pytest.raises(Exception, match="HF_HUB_DISABLE_XET=1"):
        refresh_xet_connection_info(file_data=file, headers={})


COMMIT = ("POST /api/{type}/{id}/preupload/{rev}", "POST /api/{type}/{id}/commit/{rev}")
LFS = "POST /{prefix}{id}.git/info/lfs/objects/batch"

# The rows of ROUTES that each call must come to, and be answered there with 200 if it does not stand in REFUSED.
CALLS: dict[Callable[[HfApi], None], tuple[str, ...]] = {
    regular_file: COMMIT,
    lfs_file: (LFS, "PUT /{prefix}{id}/lfs-object/{oid}", "POST /{prefix}{id}/lfs-verify/{oid}"),
    lfs_file_in_parts: (LFS, "PUT /{prefix}{id}/lfs-part/{oid}", "POST /{prefix}{id}/lfs-complete/{oid}"),
    card: ("POST /api/validate-yaml", *COMMIT),
    repositories: ("POST /api/repos/create", "PUT /api/{type}/{id}/settings", "DELETE /api/repos/delete"),
    rights: ("GET /api/whoami-v2", "GET /api/{type}/{id}/auth-check", "GET /api/{type}/{id}/auth-check/write"),
    tag_and_branch: (
        "POST /api/{type}/{id}/tag/{rev}",
        "DELETE /api/{type}/{id}/tag/{ref}",
        "POST /api/{type}/{id}/branch/{ref}",
        "DELETE /api/{type}/{id}/branch/{ref}",
        "GET /api/{type}/{id}/refs",
    ),
    listings: (
        "GET /api/{type}/{id}/tree/{rev}",
        "GET /api/{type}/{id}/tree/{rev}/{path}",
        "POST /api/{type}/{id}/paths-info/{rev}",
        "GET /api/{type}/{id}/commits/{rev}",
    ),
    information: ("GET /api/{type}/{id}", "GET /api/{type}/{id}/revision/{rev}"),
    download: ("HEAD /{prefix}{id}/resolve/{rev}/{path}", "GET /{prefix}{id}/resolve/{rev}/{path}"),
    noise: ("GET /api/agent-harnesses", "HEAD /api/telemetry/{path}"),
    upload_by_xet: ("GET /api/{type}/{id}/xet-write-token/{rev}",),
    download_by_xet: ("GET /api/{type}/{id}/xet-read-token/{rev}",),
}
REFUSED = {upload_by_xet: 404, download_by_xet: 404}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_the_client_calls_its_rows_and_is_answered(call, alice, answered) -> None:
    alice.create_repo(REPO)
    call(alice)
    seen = {f"{method} {row}" for method, row, status in answered() if status == REFUSED.get(call, 200)}
    assert set(CALLS[call]) <= seen


def test_every_row_of_the_table_has_such_a_call() -> None:
    called = {row.replace("HEAD ", "GET ") for rows in CALLS.values() for row in rows}
    assert called == {f"{route.method} {route.template}" for route in ROUTES}
