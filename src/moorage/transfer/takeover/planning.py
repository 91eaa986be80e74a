"""What of a repository there is to come here. Pure: values in, a plan out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from moorage.errors import ManifestInvalid
from moorage.oci.digest import Digest, algorithm_of, digest_of
from moorage.oci.manifest import Kind, Manifest, parse_manifest
from moorage.oci.names import is_tag
from moorage.registry.tags.rows import TagState
from moorage.transfer.takeover.source import ContentBroken, FoundRepository, Problem

IMPORTED_BY = "operator (import)"
"""As the history names it: no account can have this name, so what anyone else did here shows."""

MANIFEST_MAX_BYTES = 4 * 1024 * 1024
_KEPT_MAX, _KEPT_MAX_BYTES = 10_000, 4 * 1024


@dataclass(frozen=True, slots=True)
class Here:
    """What this registry has of a repository: its manifests, those in its trash, and its tags."""

    manifests: frozenset[Digest] = frozenset()
    trashed: frozenset[Digest] = frozenset()
    tags: Mapping[str, TagState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a manifest there points at; `blobs` by digest and size, whether they have to be there."""

    children: tuple[Digest, ...]
    blobs: tuple[tuple[Digest, int, bool], ...]
    read: tuple[Manifest, bytes] | None
    """All of it, where it is small."""


@dataclass(slots=True)
class Plan:
    """Manifests to bring, children first, each with its blobs; and tags to move, each to one of them."""

    manifests: dict[Digest, Parsed] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    skipped: list[Problem] = field(default_factory=list)
    kept: list[Problem] = field(default_factory=list)
    known_tags: int = 0


def make_plan(
    found: FoundRepository,
    here: Here,
    read: Callable[[Digest], bytes],
    find_size: Callable[[Digest], int | None],
) -> Plan:
    """What to bring. `read` gives a manifest's bytes, `find_size` the size of a blob that can be brought.

    Both raise ContentBroken, which leaves out what needs it.
    """
    plan = Plan(skipped=list(found.problems))
    moved = _judge_tags(found, here, plan)
    wanted = [digest for digest in found.revisions if digest not in here.manifests | here.trashed]
    parsed = {digest: each for digest in wanted if (each := _parse(found, digest, read, plan))}
    _leave_out_deleted(found, moved, parsed)
    _order(found, here, parsed, find_size, plan)
    for tag, digest in moved.items():
        if digest in plan.manifests or digest in here.manifests:
            plan.tags[tag] = digest
        else:
            plan.skipped.append(_tag_problem(found.name, tag, f"its manifest {digest} cannot be brought"))
    return plan


def judge_tag(state: TagState | None, digest: Digest) -> str | None:
    """Why a tag shall stay as it is here; None when it may be moved to `digest`, "" when it is there."""
    if state is None:
        return None
    if state.target == digest:
        return ""
    if state.by == IMPORTED_BY:
        return None
    return f"it was {'moved' if state.target else 'deleted'} here by {state.by}"


def _judge_tags(found: FoundRepository, here: Here, plan: Plan) -> dict[str, Digest]:
    moved: dict[str, Digest] = {}
    for tag, (digest, _) in found.tags.items():
        reason = judge_tag(here.tags.get(tag), digest)
        if reason == "":
            plan.known_tags += 1
        elif reason:
            plan.kept.append(_tag_problem(found.name, tag, reason))
        elif not is_tag(tag):
            plan.skipped.append(_tag_problem(found.name, tag, "no tag can have this name"))
        elif digest in here.trashed:
            plan.kept.append(_tag_problem(found.name, tag, f"its manifest {digest} was deleted here"))
        elif digest not in found.revisions:
            plan.skipped.append(
                _tag_problem(found.name, tag, f"the repository does not have its manifest {digest}")
            )
        else:
            moved[tag] = digest
    return moved


def _tag_problem(repository: str, tag: str, reason: str) -> Problem:
    return Problem(repository, f"tag {tag[:128]}", reason)


def read_manifest(digest: Digest, read: Callable[[Digest], bytes]) -> bytes:
    """A manifest's bytes, found to be those of its digest. Raises ContentBroken."""
    payload = read(digest)
    if len(payload) > MANIFEST_MAX_BYTES:
        raise ContentBroken(f"it has more than {MANIFEST_MAX_BYTES} bytes")
    if digest_of(payload, algorithm_of(digest)) != digest:
        raise ContentBroken(f"its bytes are those of {digest_of(payload)}")
    return payload


def _parse(
    found: FoundRepository, digest: Digest, read: Callable[[Digest], bytes], plan: Plan
) -> Parsed | None:
    try:
        payload = read_manifest(digest, read)
        manifest = parse_manifest(payload, None)
    except ContentBroken as broken:
        plan.skipped.append(Problem(found.name, f"manifest {digest}", str(broken)))
        return None
    except ManifestInvalid as refusal:
        reason = str(refusal.detail.get("reason", refusal))
        plan.skipped.append(Problem(found.name, f"manifest {digest}", reason))
        return None
    references = manifest.references
    return Parsed(
        tuple(each.target.digest for each in references if each.kind is Kind.MANIFEST),
        tuple(
            (each.target.digest, each.target.size, not each.may_be_absent)
            for each in references
            if each.kind is not Kind.MANIFEST
        ),
        (manifest, payload)
        if len(payload) <= _KEPT_MAX_BYTES and len(found.revisions) <= _KEPT_MAX
        else None,
    )


def _leave_out_deleted(
    found: FoundRepository, moved: Mapping[str, Digest], parsed: dict[Digest, Parsed]
) -> None:
    """Drop what only tags name that stay as they are here: those images were deleted or replaced."""
    named = {digest for digest, _ in found.tags.values()}
    held_back = _reach(named - set(moved.values()), parsed)
    others = set(parsed) - _reach(named, parsed)
    for digest in held_back - _reach({*moved.values(), *others}, parsed):
        parsed.pop(digest, None)


def _reach(roots: Iterable[Digest], parsed: Mapping[Digest, Parsed]) -> set[Digest]:
    reached: set[Digest] = set()
    ahead = list(roots)
    while ahead:
        digest = ahead.pop()
        if digest not in reached:
            reached.add(digest)
            ahead += parsed[digest].children if digest in parsed else ()
    return reached


def _order(
    found: FoundRepository,
    here: Here,
    parsed: Mapping[Digest, Parsed],
    find_size: Callable[[Digest], int | None],
    plan: Plan,
) -> None:
    """Put into the plan what is complete, children before those that list them."""
    broken: dict[Digest, str] = {}
    for root in parsed:
        ahead = [(root, False)]
        while ahead:
            digest, is_after_children = ahead.pop()
            if digest in plan.manifests or digest in broken:
                continue
            children = [child for child in parsed[digest].children if child in parsed]
            if children and not is_after_children:
                ahead += [(digest, True), *((child, False) for child in children)]
                continue
            problem = _find_lack(found, here, parsed[digest], find_size, plan)
            if problem is None:
                plan.manifests[digest] = parsed[digest]
            else:
                broken[digest] = problem
    plan.skipped += [Problem(found.name, f"manifest {digest}", reason) for digest, reason in broken.items()]


def _find_lack(
    found: FoundRepository,
    here: Here,
    parsed: Parsed,
    find_size: Callable[[Digest], int | None],
    plan: Plan,
) -> str | None:
    """What a manifest needs and cannot have; None when it is complete."""
    needed = list(parsed.blobs)
    for child in parsed.children:
        if child in here.manifests or child in plan.manifests:
            continue
        if child not in found.layers:
            return f"its manifest {child} is not there"
        needed.append((child, -1, True))
    for blob, size, is_needed in needed:
        if not is_needed and blob not in found.layers:
            continue
        try:
            there = find_size(blob)
        except ContentBroken as reason:
            return f"its blob {blob}: {reason}"
        if there is None:
            return f"its blob {blob} is not there"
        if size not in {there, -1}:
            return f"its blob {blob} has {there} bytes there, not {size}"
    return None
