"""Large files: proven before they are taken, in parts where they are long, resumed where a download was cut."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_url, snapshot_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from huggingface_hub.file_download import http_get

from localpsych_recipes.local_hub import LocalHub

from .conftest import CHUNK_SIZE, TOKENS

REPO = "alice/model"
CONTENT = bytes(range(256)) * 1100  # 281,600 bytes: three parts
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def repo(alice: HfApi) -> str:
    return alice.create_repo(REPO).repo_id


def ask(
    hub: LocalHub, method: str, target: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request past the client, which would not send it: status, headers, body."""
    connection = http.client.HTTPConnection(*hub.url.removeprefix("http://").split(":"), timeout=20)
    connection.request(method, target.removeprefix(hub.url), body, headers)
    response = connection.getresponse()
    return response.status, dict(response.getheaders()), response.read()


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


def upload_actions(hub: LocalHub, content: bytes) -> dict:
    """What the LFS batch says about an object: {} if it is stored, else where to put it."""
    announced = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    body = json.dumps({"operation": "upload", "transfers": ["basic"], "objects": [announced]}).encode()
    status, _, answer = ask(hub, "POST", f"/{REPO}.git/info/lfs/objects/batch", body, **bearer("alice"))
    assert status == 200
    return json.loads(answer)["objects"][0].get("actions", {})


def commit_lines(hub: LocalHub, *lines: dict) -> tuple[int, bytes]:
    header = {"key": "header", "value": {"summary": "raw"}}
    body = b"\n".join(json.dumps(line).encode() for line in (header, *lines))
    status, _, answer = ask(hub, "POST", f"/api/models/{REPO}/commit/main", body, **bearer("alice"))
    return status, answer


def test_a_file_in_parts_comes_back_whole_and_is_not_sent_twice(hub, alice, repo, answered, tmp_path) -> None:
    alice.create_commit(repo, [CommitOperationAdd("a.bin", CONTENT)], commit_message="up")
    parts = [row for method, row, _ in answered() if "lfs-part" in row]
    assert len(parts) == -(-len(CONTENT) // CHUNK_SIZE) == 3
    assert Path(alice.hf_hub_download(repo, "a.bin", cache_dir=tmp_path)).read_bytes() == CONTENT
    alice.create_commit(repo, [CommitOperationAdd("same.bin", CONTENT)], commit_message="stored already")
    assert [row for method, row, _ in answered() if "lfs-part" in row] == parts


def test_objects_of_one_repository_are_not_taken_for_another(alice, repo, answered) -> None:
    alice.create_repo("alice/other")
    for target in (repo, "alice/other"):
        alice.create_commit(target, [CommitOperationAdd("a.bin", CONTENT[:500])], commit_message="up")
    assert sum("lfs-object" in row for _, row, _ in answered()) == 2


def test_content_that_is_not_what_was_announced_is_refused(hub, repo) -> None:
    small = CONTENT[:1000]
    href = upload_actions(hub, small)["upload"]["href"]
    assert ask(hub, "PUT", href, bytes(1000))[0] == 400
    assert ask(hub, "PUT", href, small[:-1])[0] == 400
    assert upload_actions(hub, small) != {}
    assert ask(hub, "PUT", href, small)[0] == 200
    assert upload_actions(hub, small) == {}


def test_an_object_with_a_missing_or_wrong_part_is_refused(hub, repo) -> None:
    upload = upload_actions(hub, CONTENT)["upload"]
    chunks = [CONTENT[start : start + CHUNK_SIZE] for start in range(0, len(CONTENT), CHUNK_SIZE)]
    done = json.dumps({"oid": SHA256, "parts": [{"partNumber": n, "etag": "x"} for n in (1, 2, 3)]}).encode()
    ask(hub, "PUT", upload["header"]["1"], chunks[0])
    ask(hub, "PUT", upload["header"]["3"], chunks[2])
    assert ask(hub, "POST", upload["href"], done)[0] == 400
    ask(hub, "PUT", upload["header"]["2"], bytes(CHUNK_SIZE))
    assert ask(hub, "POST", upload["href"], done)[0] == 400
    ask(hub, "PUT", upload["header"]["2"], chunks[1])
    assert ask(hub, "POST", upload["href"], done)[0] == 200


def test_an_upload_address_is_good_for_its_own_object_only(hub, repo) -> None:
    href = upload_actions(hub, CONTENT[:1000])["upload"]["href"]
    other = hashlib.sha256(b"other").hexdigest()
    assert ask(hub, "PUT", href.replace(hashlib.sha256(CONTENT[:1000]).hexdigest(), other), b"other")[0] == 403
    assert ask(hub, "PUT", href.replace("length=1000", "length=5"), b"other")[0] == 403
    assert ask(hub, "PUT", href.partition("?")[0], b"other")[0] == 403


def test_a_pointer_to_an_object_that_was_never_uploaded_is_refused(hub, alice, repo) -> None:
    head = alice.model_info(repo).sha
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize {len(CONTENT)}\n".encode()
    as_lfs = {"key": "lfsFile", "value": {"path": "a.bin", "algo": "sha256", "oid": SHA256, "size": len(CONTENT)}}
    encoded = base64.b64encode(pointer).decode()
    as_text = {"key": "file", "value": {"path": "a.bin", "encoding": "base64", "content": encoded}}
    for line in (as_lfs, as_text):
        status, answer = commit_lines(hub, line)
        assert status == 400 and b"pointer" in answer
    assert alice.model_info(repo).sha == head


def test_paths_may_hold_spaces_and_any_script(alice, repo) -> None:
    path = "données/日本 100%.txt"
    alice.create_commit(repo, [CommitOperationAdd(path, b"x")], commit_message="up")
    assert Path(alice.hf_hub_download(repo, path)).read_bytes() == b"x"
    assert [entry.path for entry in alice.list_repo_tree(repo, "données")] == [path]
    with pytest.raises(RemoteEntryNotFoundError):
        alice.hf_hub_download(repo, "日本/absent.txt")


def test_a_cut_download_is_resumed_by_a_range(hub, alice, repo, tmp_path) -> None:
    alice.create_commit(repo, [CommitOperationAdd("a.bin", CONTENT)], commit_message="up")
    url = hf_hub_url(repo, "a.bin", endpoint=hub.url)
    with open(tmp_path / "a.bin", "wb+") as file:
        file.write(CONTENT[:150_000])
        http_get(url, file, resume_size=150_000, expected_size=len(CONTENT))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("wanted", "status", "expected"),
    [
        ("bytes=0-9", 206, CONTENT[:10]),
        ("bytes=281590-", 206, CONTENT[-10:]),
        ("bytes=-7", 206, CONTENT[-7:]),
        ("bytes=281590-999999", 206, CONTENT[-10:]),
        ("bytes=0-1,5-6", 200, CONTENT),
        ("lines=1-2", 200, CONTENT),
    ],
)
def test_ranges(hub, alice, repo, wanted: str, status: int, expected: bytes) -> None:
    alice.create_commit(repo, [CommitOperationAdd("a.bin", CONTENT)], commit_message="up")
    got, headers, body = ask(hub, "GET", f"/{repo}/resolve/main/a.bin", Range=wanted)
    assert (got, body) == (status, expected)
    assert headers["X-Linked-Etag"] == f'"{SHA256}"' and headers["Accept-Ranges"] == "bytes"


def test_a_range_outside_the_file_is_refused(hub, repo) -> None:
    status, headers, _ = ask(hub, "GET", f"/{repo}/resolve/main/.gitattributes", Range="bytes=999999-")
    assert status == 416 and headers["Content-Range"].startswith("bytes */")


def test_a_snapshot_is_what_was_pushed_and_its_checksums_agree(hub, alice, tmp_path) -> None:
    files = {f"shard/{number:02}.txt": str(number).encode() for number in range(40)} | {"weights.bin": CONTENT}
    alice.create_repo("alice/rows", repo_type="dataset", private=True)
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    alice.create_commit("alice/rows", operations, commit_message="all", repo_type="dataset")
    folder = Path(snapshot_download("alice/rows", repo_type="dataset", endpoint=hub.url, token=TOKENS["alice"],
                                    local_dir=tmp_path / "snapshot"))  # fmt: skip
    assert {path: (folder / path).read_bytes() for path in files} == files
    checked = alice.verify_repo_checksums("alice/rows", repo_type="dataset", local_dir=folder)
    assert (checked.mismatches, checked.missing_paths) == ([], [])
    assert checked.checked_count == 1 + len(files)


def test_long_listings_come_in_pages_that_the_client_follows(alice, repo, answered) -> None:
    operations = [CommitOperationAdd(f"{number}.txt", b"x") for number in range(70)]
    alice.create_commit(repo, operations, commit_message="many")
    assert len(list(alice.list_repo_tree(repo, expand=True))) == 71
    assert sum(row.endswith("/tree/{rev}") for _, row, _ in answered()) == 3


def test_everything_is_still_there_after_a_restart(open_hub, hub, alice, repo, tmp_path) -> None:
    alice.create_commit(repo, [CommitOperationAdd("a.bin", CONTENT)], commit_message="up")
    alice.create_tag(repo, tag="v1")
    alice.update_repo_settings(repo, private=True)
    before = alice.model_info(repo)
    hub.close()
    with open_hub() as again:
        api = HfApi(endpoint=again.url, token=TOKENS["alice"])
        after = api.model_info(repo, revision="v1")
        assert (after.sha, after.private, after.created_at) == (before.sha, True, before.created_at)
        assert Path(api.hf_hub_download(repo, "a.bin", cache_dir=tmp_path)).read_bytes() == CONTENT


def test_what_a_killed_hub_left_unfinished_is_swept_and_harms_nothing(open_hub, tmp_path) -> None:
    with open_hub() as hub:
        HfApi(endpoint=hub.url, token=TOKENS["alice"]).create_repo(REPO)
    folder = tmp_path / "hub" / "models" / REPO
    torn = [folder / "uploads" / SHA256, folder / "commits" / ".new-abc", folder / ".new-def"]
    for path in torn:
        path.write_bytes(b"{half")
    with open_hub() as hub:
        assert HfApi(endpoint=hub.url, token=TOKENS["alice"]).list_repo_files(REPO) == [".gitattributes"]
    assert not any(path.exists() for path in torn)
