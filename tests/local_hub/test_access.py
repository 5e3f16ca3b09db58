"""Who may see and change what, and what no name can reach."""

from __future__ import annotations

import base64
import http.client
import json

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from localpsych_recipes.errors import UserError
from localpsych_recipes.local_hub import Account, LocalHub, new_token

from .test_transfers import ask, bearer

REPO = "alice/model"


def add(api: HfApi, repo: str = REPO) -> None:
    api.create_commit(repo, [CommitOperationAdd("a.txt", b"a")], commit_message="add")


def status_of(call, *arguments, **options) -> int:
    with pytest.raises(HfHubHTTPError) as error:
        call(*arguments, **options)
    return error.value.response.status_code


def test_a_private_repository_is_invisible_to_others_and_to_nobody(alice, bob, nobody) -> None:
    alice.create_repo(REPO, private=True)
    assert alice.model_info(REPO).private
    for other in (bob, nobody):
        for call in (other.model_info, other.list_repo_files, other.list_repo_refs, other.auth_check, add):
            with pytest.raises(RepositoryNotFoundError):
                call(other, REPO) if call is add else call(REPO)
        with pytest.raises(RepositoryNotFoundError):
            other.hf_hub_download(REPO, ".gitattributes")


def test_a_private_repository_answers_others_exactly_as_an_absent_one(hub, alice) -> None:
    alice.create_repo(REPO, private=True)
    answers = [ask(hub, "GET", f"/api/models/alice/{name}", **bearer("bob")) for name in ("model", "absent")]
    (status, headers, body), (_, absent_headers, absent_body) = answers
    assert status == 404 and headers["X-Error-Code"] == "RepoNotFound" and body == absent_body
    assert headers.keys() == absent_headers.keys()


def test_a_public_repository_is_read_by_all_and_written_by_its_owner(alice, bob, nobody) -> None:
    alice.create_repo(REPO)
    add(alice)
    assert "a.txt" in nobody.list_repo_files(REPO)
    assert status_of(add, bob) == 403
    assert status_of(add, nobody) == 401
    assert status_of(bob.delete_repo, REPO) == 403
    assert status_of(bob.create_repo, "alice/another") == 403
    assert status_of(nobody.create_repo, "alice/another") == 401


def test_a_read_token_sees_its_private_repositories_and_changes_nothing(hub, alice) -> None:
    alice.create_repo(REPO, private=True)
    reader = HfApi(endpoint=hub.url, token=bearer("alice:read")["Authorization"].removeprefix("Bearer "))
    assert reader.whoami()["auth"]["accessToken"]["role"] == "read"
    assert reader.model_info(REPO).private
    assert status_of(add, reader) == 403
    assert status_of(reader.auth_check, REPO, write=True) == 403
    assert status_of(reader.create_repo, "alice/other") == 403
    assert status_of(reader.update_repo_settings, REPO, private=False) == 403


def test_a_wrong_token_is_refused_with_401_even_where_none_is_needed(hub, alice) -> None:
    alice.create_repo(REPO)
    stranger = HfApi(endpoint=hub.url, token=new_token())
    assert status_of(stranger.model_info, REPO) == 401
    assert status_of(stranger.whoami) == 401


def test_a_gated_repository_shows_its_listing_and_keeps_its_files(alice, bob) -> None:
    alice.create_repo(REPO)
    alice.update_repo_settings(REPO, gated="manual")
    assert bob.model_info(REPO).gated == "manual"
    with pytest.raises(GatedRepoError):
        bob.hf_hub_download(REPO, ".gitattributes")
    with pytest.raises(GatedRepoError):
        bob.auth_check(REPO)


def test_members_of_an_organisation_share_its_repositories(tmp_path) -> None:
    members = {name: new_token() for name in ("ada", "ben")}
    tokens = {token: Account(name, organisations=("lab",)) for name, token in members.items()}
    with LocalHub(tmp_path, tokens=tokens) as hub:
        ada, ben = (HfApi(endpoint=hub.url, token=token) for token in members.values())
        ada.create_repo("lab/model", private=True)
        add(ben, "lab/model")
        assert [org["name"] for org in ben.whoami()["orgs"]] == ["lab"]


def test_deleted_repositories_are_gone_and_may_be_made_anew(alice) -> None:
    alice.create_repo(REPO)
    add(alice)
    alice.delete_repo(REPO)
    with pytest.raises(RepositoryNotFoundError):
        alice.model_info(REPO)
    with pytest.raises(RepositoryNotFoundError):
        alice.delete_repo(REPO)
    alice.create_repo(REPO)
    assert alice.list_repo_files(REPO) == [".gitattributes"]


TRAVERSALS = [
    "/api/models/../../etc/passwd",
    "/api/models/%2e%2e/%2e%2e",
    "/api/models/..%2f..%2fhub/lock",
    "/api/models/alice%2f..%2fmodel/extra",
    "/api/models/alice/model%00",
    "/alice/model/resolve/main/../../../token",
    "/alice/model/resolve/main/%2e%2e%2f%2e%2e%2frepo.json",
    "/alice/model/resolve/main/%2fetc%2fpasswd",
    "/alice/model/resolve/main//etc/passwd",
    "/alice/model/resolve/main/a%5c..%5cb",
    "/alice/model/resolve/main/a%0d%0aX-Evil:%201",
    "/alice/model/resolve/..%2f..%2frepo/.gitattributes",
    "/alice/model/resolve/%ff/.gitattributes",
    "/api/models/alice/model/revision/..%2frepo",
    "/api/models/alice/model/tree/main/..%2f..",
]


def test_no_address_leads_out_of_a_repository(hub, alice) -> None:
    alice.create_repo(REPO)
    for target in TRAVERSALS:
        status, headers, body = ask(hub, "GET", target, **bearer("alice"))
        assert (target, status in (400, 404), "X-Evil" in headers) == (target, True, False)
        assert b"private" not in body and b"root:" not in body


def statuses(hub: LocalHub, target: str, bodies: dict[str, bytes]) -> dict[str, int]:
    return {name: ask(hub, "POST", target, body, **bearer("alice"))[0] for name, body in bodies.items()}


def test_no_commit_takes_a_path_that_leads_out_or_cannot_be_read(hub, alice) -> None:
    alice.create_repo(REPO)
    head = alice.model_info(REPO).sha
    paths = ["../a", "/a", "a/../b", "a//b", "a\\b", ".git/config", "a/.git/b", "a\x00b", "a\nb", "", ".", "a" * 1025]
    bodies = {path: commit_of(path) for path in paths}
    assert statuses(hub, f"/api/models/{REPO}/commit/main", bodies) == dict.fromkeys(paths, 400)
    assert alice.model_info(REPO).sha == head


def commit_of(path: str) -> bytes:
    file = {"path": path, "content": base64.b64encode(b"x").decode(), "encoding": "base64"}
    lines = [{"key": "header", "value": {"summary": "s"}}, {"key": "file", "value": file}]
    return "\n".join(json.dumps(line) for line in lines).encode()


def test_no_repository_has_a_name_that_the_hub_would_refuse(hub, tmp_path) -> None:
    names = ["..", ".", "a/b", "a--b", "a..b", "-a", "a.git", "a\x00", "a b", "", "x" * 97]
    bodies = {name: json.dumps({"name": name, "organization": "alice"}).encode() for name in names}
    assert statuses(hub, "/api/repos/create", bodies) == dict.fromkeys(names, 400)
    assert not list(tmp_path.glob("hub/models/**/repo.json"))


def test_no_tag_has_a_name_that_git_would_refuse(hub, alice) -> None:
    alice.create_repo(REPO)
    names = ["..", "a..b", "-x", "a b", "a\n", "refs/heads/main", "a//b", "a.lock", "a" * 300, "0" * 40, ""]
    bodies = {name: json.dumps({"tag": name}).encode() for name in names}
    assert statuses(hub, f"/api/models/{REPO}/tag/main", bodies) == dict.fromkeys(names, 400)
    assert alice.list_repo_refs(REPO).tags == []


def test_bodies_are_bounded_and_their_length_is_known(hub, alice) -> None:
    alice.create_repo(REPO)
    for path, length, expected in (
        ("/api/repos/create", str(2**40), 413),
        (f"/api/models/{REPO}/commit/main", str(2**40), 413),
        ("/api/repos/create", "-1", 411),
        ("/api/repos/create", "many", 411),
    ):
        connection = http.client.HTTPConnection(*hub.url.removeprefix("http://").split(":"), timeout=20)
        connection.putrequest("POST", path)
        for name, value in {**bearer("alice"), "Content-Length": length}.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == expected


MALFORMED = {
    "/api/repos/create": [{}, {"name": 5}, {"name": "a", "type": "kernel"}, {"name": "a", "visibility": "secret"}],
    f"/api/models/{REPO}/preupload/main": [{}, {"files": [1]}, {"files": [{"path": "a", "size": "1"}]}],
    f"/api/models/{REPO}/commit/main": [{}, {"key": "header"}, {"key": "file", "value": {"path": "a"}}],
    f"/{REPO}.git/info/lfs/objects/batch": [{}, {"operation": "upload", "objects": [{"oid": "../x", "size": 1}]}],
    f"/api/models/{REPO}/tag/main": [{}, {"tag": 1}],
}


def test_json_of_another_shape_is_refused(hub, alice) -> None:
    alice.create_repo(REPO)
    for target, payloads in MALFORMED.items():
        bodies = {json.dumps(payload): json.dumps(payload).encode() for payload in payloads}
        assert statuses(hub, target, bodies) == dict.fromkeys(bodies, 400)


def test_what_is_not_json_is_refused(hub) -> None:
    bodies = {"text": b"not json", "list": b"[]", "bytes": b"\xff", "depth": b"[" * 100_000}
    assert statuses(hub, "/api/repos/create", bodies) == dict.fromkeys(bodies, 400)


def test_a_second_hub_on_the_same_folder_is_refused(hub, open_hub) -> None:
    with pytest.raises(UserError, match="served by another hub"):
        open_hub()
