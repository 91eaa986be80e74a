"""Whatever clients do, in whatever order, with stops, power cuts and clocks that jump: the registry holds
what a model of dictionaries holds.

After each step: I1 every acknowledged push pulls back byte for byte; I2 a body matches its digest; I3 every
live row has its file; I4 a tag points to a complete image, unless a client deleted a part of it; I5 the audit
finds nothing; I6 what was answered with 2xx is done, and what was not is not.

A failure prints the steps and a `@reproduce_failure` line to put above the test.
"""

import os
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from moorage.errors import NameTaken, NameUnknown
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.repositories.rows import list_deleted
from moorage.registry.tags import rows as tag_rows
from moorage.registry.trash.repositories import delete_repository, restore_repository
from moorage.registry.trash.restoring import restore_deletion
from moorage.registry.uploads import rows as upload_rows
from moorage.registry.uploads import uploading
from moorage.storage.filesystem import FilesystemStore
from tests.content import ABSENT, Document, digest_of, encode, image, index, subject
from tests.lifecycle import mutants
from tests.lifecycle.interleaving import GRACE_MS, let_time_pass
from tests.memory import make_folder
from tests.registry.audit import auditing
from tests.registry.in_process import InProcess
from tests.registry.model import Held, Model, OpenUpload, pointers
from tests.registry.pushing import CLIENT
from tests.spec.client import Reply

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "60"))
STEPS = 25
# until a planted fault is seen: most are within ten
MOST_EXAMPLES = 1000


class Content(bytes):
    """Bytes that are short to print."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{bytes(self[:5])!r}... of {len(self)} bytes" if len(self) > 30 else repr(bytes(self))


CONTENTS = [Content(each) for each in (b"", b"a", b"{}", b"layer" * 5, b"x" * 70_000, bytes(range(256)) * 20)]
REPOSITORIES = st.sampled_from(["a", "b", "a/b"])
BLOBS = st.sampled_from(CONTENTS)
PIECES = st.sampled_from([Content(each) for each in (b"a", b"{}", b"layer", b"y" * 9_000, b"")])
TAGS = st.sampled_from(["1.0", "latest", "A", "a"])
ALGORITHMS = st.sampled_from(["sha256", "sha512"])
JUMPS = st.sampled_from([timedelta(days=days) for days in (1, -1, 8, 3650, -3650)])


class RegistryMachine(RuleBasedStateMachine):
    """Clients of one registry, and what they should find."""

    uploads = Bundle("uploads")
    documents = Bundle("documents")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        for content in CONTENTS:
            self.model.see_content(content)
        self.folder = make_folder("moorage-model-")
        self.life = 0
        self.shift_ns = 0
        self.real_time_ns = time.time_ns
        time.time_ns = self.now_ns
        self.registry = InProcess(self.folder / "0")
        self.registry.open()

    def now_ns(self) -> int:
        return self.real_time_ns() + self.shift_ns

    def teardown(self) -> None:
        self.registry.end()
        time.time_ns = self.real_time_ns
        shutil.rmtree(self.folder)

    def held(self, repository: str) -> Held:
        return self.model.repositories[repository]

    def send(self, method: str, target: str, body: bytes = b"", content_range: str | None = None) -> Reply:
        headers = [] if content_range is None else [("Content-Range", content_range)]
        return self.registry.send(method, target, body, headers)

    # Blobs, whole

    @initialize(target=documents)
    def seed(self) -> Document:
        """An image in the first repository, so that there is something to do from the start."""
        for content in (b"{}", b"a"):
            self.push_blob("a", content, "post", "sha256")
        document = image(b"{}", [b"a"])
        self.put("a", document, ["1.0"], "sha256")
        # once, so that it knows what time it is before any clock jumps
        self.collect_garbage(is_time_over=False)
        return document

    @initialize(target=documents)
    def seed_index(self) -> Document:
        """A child that only its index keeps: what forgets children is seen at the first collection."""
        self.push_blob("a/b", b"{}", "post", "sha256")
        child = image(b"{}", [])
        self.put("a/b", child, [], "sha256")
        self.put("a/b", index([child]), ["1.0"], "sha256")
        return child

    @rule(
        repository=REPOSITORIES,
        content=BLOBS,
        way=st.sampled_from(["post", "put", "patch"]),
        algorithm=ALGORITHMS,
    )
    def push_blob(self, repository: str, content: bytes, way: str, algorithm: str) -> None:
        query = f"?digest={digest_of(content, algorithm)}"
        if way == "post":
            reply = self.send("POST", f"/v2/{repository}/blobs/uploads/{query}", content)
        else:
            location = self.send("POST", f"/v2/{repository}/blobs/uploads/")["Location"]
            if way == "patch":
                location = self.send("PATCH", location, content)["Location"]
            reply = self.send("PUT", location + query, b"" if way == "patch" else content)

        assert reply.status == 201
        self.held(repository).add_blob(content)

    @rule(repository=REPOSITORIES, content=BLOBS)
    def push_blob_with_wrong_bytes(self, repository: str, content: bytes) -> None:
        target = f"/v2/{repository}/blobs/uploads/?digest={digest_of(content)}"

        assert self.send("POST", target, content + b"!").codes == ["DIGEST_INVALID"]

    @rule(repository=REPOSITORIES, content=BLOBS, source=st.none() | REPOSITORIES, algorithm=ALGORITHMS)
    def mount(self, repository: str, content: bytes, source: str | None, algorithm: str) -> None:
        query = f"mount={digest_of(content, algorithm)}" + (f"&from={source}" if source else "")
        holders = self.model.holders(digest_of(content))

        reply = self.send("POST", f"/v2/{repository}/blobs/uploads/?{query}")

        if source in holders or (source is None and holders):
            assert reply.status == 201
            self.held(repository).add_blob(content)
        else:
            assert reply.status == 202
            assert self.send("DELETE", reply["Location"]).status == 204

    @rule(repository=REPOSITORIES, content=BLOBS, algorithm=ALGORITHMS)
    def delete_blob(self, repository: str, content: bytes, algorithm: str) -> None:
        held, digest = self.held(repository), digest_of(content)

        reply = self.send("DELETE", f"/v2/{repository}/blobs/{digest_of(content, algorithm)}")

        if digest in held.blobs and held.is_needed(digest):
            assert reply.status == 409, "F38"
            return
        assert reply.status == (404 if held.blobs.pop(digest, None) is None else 202)

    @rule(repository=REPOSITORIES, content=BLOBS)
    def think_better_of_a_blob(self, repository: str, content: bytes) -> None:
        """Two steps that chance seldom takes one after the other."""
        self.push_blob(repository, content, "post", "sha256")
        self.delete_blob(repository, content, "sha256")

    @rule(content=BLOBS, repositories=st.lists(REPOSITORIES, min_size=2, max_size=4))
    def push_blob_at_once(self, content: bytes, repositories: list[str]) -> None:
        query = f"?digest={digest_of(content)}"

        replies = self.registry.send_together(
            *(("POST", f"/v2/{repository}/blobs/uploads/{query}", content) for repository in repositories)
        )

        assert {reply.status for reply in replies} == {201}
        for repository in repositories:
            self.held(repository).add_blob(content)

    @rule(content=BLOBS, source=REPOSITORIES, to=REPOSITORIES)
    def mount_while_it_is_deleted(self, content: bytes, source: str, to: str) -> None:
        digest = digest_of(content)
        was_there = digest in self.held(source).blobs

        mounted, deleted = self.registry.send_together(
            ("POST", f"/v2/{to}/blobs/uploads/?mount={digest}&from={source}", b""),
            ("DELETE", f"/v2/{source}/blobs/{digest}", b""),
        )

        assert mounted.status in ({201, 202} if was_there else {202})
        is_needed = was_there and self.held(source).is_needed(digest)
        assert deleted.status == (409 if is_needed else 202 if was_there else 404)
        if mounted.status == 201:
            self.held(to).add_blob(content)
        if source == to and was_there:
            # either may have been the last; the reply to a look is the truth, and stays so
            if self.send("HEAD", f"/v2/{source}/blobs/{digest}").status == 404:
                self.held(source).blobs.pop(digest, None)
        elif deleted.status == 202:
            self.held(source).blobs.pop(digest, None)

    # Blobs, in chunks

    @initialize(target=uploads)
    def begin_one(self) -> OpenUpload:
        """An upload, for the same reason."""
        return self.open_upload("b")

    @rule(target=uploads, repository=REPOSITORIES)
    def begin(self, repository: str) -> OpenUpload:
        return self.open_upload(repository)

    def open_upload(self, repository: str) -> OpenUpload:
        reply = self.send("POST", f"/v2/{repository}/blobs/uploads/")

        assert reply.status == 202
        upload = OpenUpload(repository, reply["Location"], self.now_ns())
        self.model.uploads.append(upload)
        return upload

    def is_gone(self, upload: OpenUpload, reply: Reply) -> bool:
        """Whether an upload is over, as it must be when it was ended and may be when it was left alone."""
        may_be_gone = upload.may_be_gone and reply.status == 404
        if upload.is_open and not upload.must_be_gone and not may_be_gone:
            return False
        assert reply.codes == ["BLOB_UPLOAD_UNKNOWN"]
        upload.is_open = False
        return True

    @rule(upload=uploads, piece=PIECES, is_placed=st.booleans())
    def append(self, upload: OpenUpload, piece: bytes, is_placed: object) -> None:
        place = None
        if is_placed and piece:
            place = f"{len(upload.content)}-{len(upload.content) + len(piece) - 1}"

        reply = self.send("PATCH", upload.location, piece, place)

        if not self.is_gone(upload, reply):
            assert reply.status == 202
            upload.content += piece
            if piece:
                upload.touch(self.now_ns())

    @rule(upload=uploads, piece=PIECES, off=st.sampled_from([1, -1, 1000]))
    def append_out_of_order(self, upload: OpenUpload, piece: bytes, off: int) -> None:
        first = len(upload.content) + off
        if first < 0 or not piece:
            return

        reply = self.send("PATCH", upload.location, piece, f"{first}-{first + len(piece) - 1}")

        if not self.is_gone(upload, reply):
            assert reply.status == 416
            assert reply["Range"] == f"0-{max(len(upload.content) - 1, 0)}"

    @rule(upload=uploads, piece=PIECES, method=st.sampled_from(["PATCH", "PUT"]))
    def leave_midway(self, upload: OpenUpload, piece: bytes, method: str) -> None:
        target = f"{upload.location}?digest={ABSENT}"

        self.registry.cut_off(method, target, piece, len(piece) + 1)

        if upload.is_open:
            reply = self.send("GET", upload.location)
            if not self.is_gone(upload, reply):
                upload.content += piece
                if piece:
                    upload.touch(self.now_ns())

    @rule(upload=uploads, piece=PIECES, algorithm=ALGORITHMS)
    def close(self, upload: OpenUpload, piece: bytes, algorithm: str) -> None:
        content = upload.content + piece

        reply = self.send("PUT", f"{upload.location}?digest={digest_of(content, algorithm)}", piece)

        if not self.is_gone(upload, reply):
            assert reply.status == 201
            upload.is_open = False
            self.model.see_content(content)
            self.held(upload.repository).add_blob(content)

    @rule(upload=uploads)
    def close_at_once(self, upload: OpenUpload) -> None:
        request = ("PUT", f"{upload.location}?digest={digest_of(upload.content)}", b"")

        replies = self.registry.send_together(request, request, request)

        best = min(replies, key=lambda reply: reply.status)
        if not self.is_gone(upload, best):
            assert {reply.status for reply in replies} <= {201, 404, 409}
            assert best.status == 201
            upload.is_open = False
            self.model.see_content(upload.content)
            self.held(upload.repository).add_blob(upload.content)

    @rule(upload=uploads)
    def close_with_a_wrong_digest(self, upload: OpenUpload) -> None:
        reply = self.send("PUT", f"{upload.location}?digest={ABSENT}")

        if not self.is_gone(upload, reply):
            assert reply.codes == ["DIGEST_INVALID"]
            upload.is_open = False

    @rule(upload=uploads)
    def cancel(self, upload: OpenUpload) -> None:
        reply = self.send("DELETE", upload.location)

        if not self.is_gone(upload, reply):
            assert reply.status == 204
            upload.is_open = False

    # Manifests and tags

    def put(self, repository: str, document: Document, tags: list[str], algorithm: str) -> None:
        """Push a manifest, which is taken if and only if all it needs is there."""
        self.model.see_document(document)
        missing = self.held(repository).missing(document)
        target = digest_of(encode(document), algorithm) + "?" + "&".join(f"tag={tag}" for tag in tags)
        if len(tags) == 1 and algorithm == "sha256":
            (target,) = tags

        reply = self.send("PUT", f"/v2/{repository}/manifests/{target}", encode(document))

        if missing:
            assert set(reply.codes) == {"MANIFEST_BLOB_UNKNOWN"}
            assert {entry["detail"]["digest"] for entry in reply.json["errors"]} == missing
        else:
            assert reply.status == 201
            self.held(repository).add_manifest(document, tags)

    @rule(
        target=documents,
        repository=REPOSITORIES,
        config=BLOBS,
        layers=st.lists(BLOBS, max_size=2),
        tags=st.lists(TAGS, max_size=2, unique=True),
        algorithm=ALGORITHMS,
    )
    def push_image(
        self, repository: str, config: bytes, layers: list[bytes], tags: list[str], algorithm: str
    ) -> Document:
        document = image(config, layers)
        self.put(repository, document, tags, algorithm)
        return document

    @rule(
        target=documents,
        repository=REPOSITORIES,
        children=st.lists(documents, min_size=1, max_size=2),
        tags=st.lists(TAGS, max_size=1),
    )
    def push_index(
        self, repository: str, children: list[Document], tags: list[str]
    ) -> Document | MultipleResults[Document]:
        if any("manifests" in child for child in children):
            return multiple()
        document = index(children)
        self.put(repository, document, tags, "sha256")
        return document

    @rule(target=documents, repository=REPOSITORIES, config=BLOBS, to=documents)
    def push_referrer(self, repository: str, config: bytes, to: Document) -> Document:
        document = image(config, subject=subject(to))
        self.put(repository, document, [], "sha256")
        return document

    @rule(repository=REPOSITORIES, document=documents, tag=TAGS)
    def retag(self, repository: str, document: Document, tag: str) -> None:
        self.put(repository, document, [tag], "sha256")

    @rule(repository=REPOSITORIES, first=documents, second=documents, tag=TAGS)
    def retag_at_once(self, repository: str, first: Document, second: Document, tag: str) -> None:
        held = self.held(repository)
        if held.missing(first) or held.missing(second):
            return

        replies = self.registry.send_together(
            *(("PUT", f"/v2/{repository}/manifests/{tag}", encode(each)) for each in (first, second))
        )

        assert [reply.status for reply in replies] == [201, 201]
        digest = self.send("HEAD", f"/v2/{repository}/manifests/{tag}")["Docker-Content-Digest"]
        last = {digest_of(encode(each)): each for each in (first, second)}[digest]
        for each in (first, second):
            held.add_manifest(each, [])
        held.add_manifest(last, [tag])

    @rule(repository=REPOSITORIES, document=documents, content=BLOBS, tag=TAGS)
    def push_manifest_while_its_content_is_deleted(
        self, repository: str, document: Document, content: bytes, tag: str
    ) -> None:
        held, digest = self.held(repository), digest_of(content)
        was_there, missing = digest in held.blobs, held.missing(document)

        pushed, deleted = self.registry.send_together(
            ("PUT", f"/v2/{repository}/manifests/{tag}", encode(document)),
            ("DELETE", f"/v2/{repository}/blobs/{digest}", b""),
        )

        is_wanted = digest in pointers(document)
        if missing or not is_wanted:
            expected = {
                (400 if missing else 201, 404 if not was_there else 409 if held.is_needed(digest) else 202)
            }
        else:
            # whichever came first: an image without its blob is never there
            expected = {(201, 409)} if held.is_needed(digest) else {(201, 409), (400, 202)}
        assert (pushed.status, deleted.status) in expected
        if deleted.status == 202:
            del held.blobs[digest]
        if pushed.status == 201:
            held.add_manifest(document, [tag])

    @rule(repository=REPOSITORIES, tag=TAGS)
    def delete_tag(self, repository: str, tag: str) -> None:
        target = self.held(repository).tags.pop(tag, None)

        reply = self.send("DELETE", f"/v2/{repository}/manifests/{tag}")

        assert reply.status == (404 if target is None else 202)

    @rule(repository=REPOSITORIES, document=documents, algorithm=ALGORITHMS)
    def delete_manifest(self, repository: str, document: Document, algorithm: str) -> None:
        payload = encode(document)
        is_there = digest_of(payload) in self.held(repository).manifests

        reply = self.send("DELETE", f"/v2/{repository}/manifests/{digest_of(payload, algorithm)}")

        if is_there and self.held(repository).is_needed(digest_of(payload)):
            assert reply.status == 409, "F38"
            return
        assert reply.status == (202 if is_there else 404)
        if is_there:
            self.held(repository).delete_manifest(digest_of(payload), reply.json["deletion"])

    # The trash, and what becomes of it

    @rule(repository=REPOSITORIES, which=st.integers(0, 3))
    def restore(self, repository: str, which: int) -> None:
        """One of the last deletions."""
        held = self.held(repository)
        if which < len(held.trash):
            trashed = held.trash[-1 - which]
            self.registry.run(restore_deletion(self.registry.db, trashed.number, CLIENT))
            held.restore(trashed, self.model.contents)

    @rule(repository=REPOSITORIES)
    def delete_repository(self, repository: str) -> None:
        deleting = delete_repository(
            self.registry.db, self.registry.uploads, RepositoryName(repository), CLIENT, GRACE_MS
        )
        if self.held(repository).is_known:
            self.registry.run(deleting)
            self.model.delete_repository(repository)
        else:
            with pytest.raises(NameUnknown):
                self.registry.run(deleting)

    @precondition(lambda self: self.model.deleted)
    @rule()
    def restore_repository(self) -> None:
        """The one that was deleted last."""
        name, held = self.model.deleted[-1]
        deleted = self.registry.run(list_deleted(self.registry.db, 1 << 60, 100))
        # of repositories of one name the newest was deleted last; of others an older one may be
        last = next(each.id for each in deleted if each.name == name)
        restoring = restore_repository(self.registry.db, last, None, CLIENT)
        if self.held(name).is_known:
            with pytest.raises(NameTaken):
                self.registry.run(restoring)
        else:
            self.registry.run(restoring)
            self.model.deleted.pop()
            self.model.repositories[name] = held

    @rule(is_time_over=st.booleans())
    def collect_garbage(self, *, is_time_over: bool) -> None:
        """F40: whatever the clock says, nothing goes before its time; then all of it."""
        for _ in range(2 if is_time_over else 1):
            # the second for what the trash gave up in the first
            if is_time_over:
                self.registry.run(self.registry.db.write(let_time_pass))
            assert self.registry.run(self.registry.garbage.collect()).obstacle is None
        if is_time_over:
            self.model.collect()
            assert self.count_garbage() == 0

    @rule()
    def collect_while_the_trash_has_its_time(self) -> None:
        """The leases are over, and what was deleted can still be restored."""
        self.registry.run(self.registry.db.write(lambda tx: tx.run("UPDATE lease SET until = 0")))
        assert self.registry.run(self.registry.garbage.collect()).obstacle is None
        self.model.end_leases()

    @rule(repository=REPOSITORIES, document=documents)
    def think_better_of_a_deletion(self, repository: str, document: Document) -> None:
        """Three steps that chance seldom takes one after the other."""
        self.delete_manifest(repository, document, "sha256")
        self.collect_while_the_trash_has_its_time()
        self.restore(repository, 0)

    @rule(repository=REPOSITORIES, content=BLOBS)
    def think_better_of_a_new_image(self, repository: str, content: bytes) -> None:
        """The same of one whose blob has a lease still, and may be needed by nothing else."""
        document = image(content, [])
        self.push_blob(repository, content, "post", "sha256")
        self.put(repository, document, [], "sha256")
        self.think_better_of_a_deletion(repository, document)

    def count_garbage(self) -> int:
        """Blobs that nothing needs."""
        row = self.registry.run(
            self.registry.db.one(
                "SELECT count(*) FROM blob WHERE digest NOT IN (SELECT target FROM manifest_reference)"
            )
        )
        assert row is not None
        return int(row[0])

    # What happens to the registry

    @rule()
    def restart(self) -> None:
        self.registry.close()
        self.registry.open()
        self.model.sweep(self.now_ns())

    @rule()
    def cut_the_power(self) -> None:
        """Go on from what the disk has now; nothing is closed, and nothing more is written."""
        self.life += 1
        after = self.folder / str(self.life)
        shutil.copytree(self.registry.settings.storage.data, after)
        self.registry.end()
        self.registry = InProcess(after)
        self.registry.open()
        self.model.sweep(self.now_ns())

    @precondition(lambda self: abs(self.shift_ns) < 20 * 365 * 24 * 3600 * 10**9)
    @rule(by=JUMPS)
    def jump_in_time(self, by: timedelta) -> None:
        self.shift_ns += int(by.total_seconds()) * 10**9
        self.model.age(self.now_ns())

    # What must hold

    @invariant()
    def blobs_are_the_models(self) -> None:
        for repository, held in self.model.repositories.items():
            for digest, content in self.model.contents.items():
                reply = self.send("GET", f"/v2/{repository}/blobs/{digest}")
                if digest in held.blobs:
                    assert (reply.status, reply.body) == (200, content), f"I1, I2: {digest} in {repository}"
                else:
                    assert reply.status == 404, f"I6: {digest} in {repository}"

    @invariant()
    def manifests_are_the_models(self) -> None:
        for repository, held in self.model.repositories.items():
            for digest, document in self.model.documents.items():
                reply = self.send("GET", f"/v2/{repository}/manifests/{digest}")
                if digest in held.manifests:
                    assert (reply.status, reply.body) == (200, encode(document)), f"I1, I2: {digest}"
                else:
                    assert reply.status == 404, f"I6: {digest} in {repository}"

    @invariant()
    def tags_are_the_models(self) -> None:
        for repository, held in self.model.repositories.items():
            reply = self.send("GET", f"/v2/{repository}/tags/list")
            assert reply.status == (200 if held.is_known else 404)
            assert not held.is_known or reply.json["tags"] == sorted(held.tags)
            for tag, digest in held.tags.items():
                pulled = self.send("GET", f"/v2/{repository}/manifests/{tag}")
                assert digest_of(pulled.body) == digest, f"I4: {tag} in {repository}"

    @invariant()
    def referrers_are_the_models(self) -> None:
        for repository, held in self.model.repositories.items():
            for digest in {
                each["subject"]["digest"] for each in self.model.documents.values() if "subject" in each
            }:
                reply = self.send("GET", f"/v2/{repository}/referrers/{digest}")
                assert {entry["digest"] for entry in reply.json["manifests"]} == held.referrers(digest)

    @invariant()
    def uploads_are_the_models(self) -> None:
        for upload in self.model.uploads:
            reply = self.send("GET", upload.location)
            if not self.is_gone(upload, reply):
                assert reply["Range"] == f"0-{max(len(upload.content) - 1, 0)}"

    @invariant()
    def audit_finds_nothing(self) -> None:
        with auditing(self.registry.settings.storage.data) as find_faults:
            assert find_faults() == []


@pytest.fixture
def quiet() -> None:
    """Two hundred lives would fill the log of the one that failed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


PLAN = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


def test_registry_holds_what_its_clients_were_told(quiet: None) -> None:
    run_state_machine_as_test(RegistryMachine, settings=PLAN)


def truncate_first(commit: Any) -> Any:
    def commit_wrongly(store: FilesystemStore, upload_id: str, digest: Digest, generation: int) -> None:
        path = store.uploads / upload_id
        path.write_bytes(path.read_bytes()[:-1])
        commit(store, upload_id, digest, generation)

    return commit_wrongly


def drop_all(list_untouched: Any) -> Any:
    return lambda db, _, limit: list_untouched(db, timedelta(days=-36500), limit)


FAULTS = [
    pytest.param(blob_rows, "unlink", lambda _: lambda *_: None, id="a deleted blob stays"),
    pytest.param(tag_rows, "move", lambda _: lambda *_: None, id="a tag is not moved"),
    pytest.param(tag_rows, "_record", lambda _: lambda *_: None, id="a move is not recorded"),
    pytest.param(uploading, "_check_order", lambda _: lambda *_: None, id="order is not checked"),
    pytest.param(upload_rows, "delete", lambda _: lambda *_: True, id="an upload does not end"),
    pytest.param(FilesystemStore, "commit", truncate_first, id="a byte is lost"),
    pytest.param(FilesystemStore, "discard_upload", lambda _: lambda *_: None, id="files are left behind"),
    pytest.param(upload_rows, "list_untouched", drop_all, id="uploads are dropped early"),
]


@pytest.mark.parametrize(("owner", "name", "spoil"), FAULTS)
def test_registry_with_a_fault_is_caught(
    quiet: None, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, spoil: Callable[[Any], Any]
) -> None:
    """A test that cannot fail would say nothing."""
    monkeypatch.setattr(owner, name, spoil(getattr(owner, name)))

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            RegistryMachine,
            settings=settings(
                PLAN, phases=[Phase.generate], report_multiple_bugs=False, max_examples=MOST_EXAMPLES
            ),
        )


@pytest.mark.parametrize("plant", [mutants.ignore_children, mutants.forget_trash])
def test_collector_with_a_fault_is_caught(
    quiet: None, monkeypatch: pytest.MonkeyPatch, plant: mutants.Plant
) -> None:
    plant(monkeypatch.setattr)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            RegistryMachine,
            settings=settings(
                PLAN, phases=[Phase.generate], report_multiple_bugs=False, max_examples=MOST_EXAMPLES
            ),
        )
