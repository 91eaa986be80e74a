"""The documents of upstreams and savings. A secret goes in and never comes out."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from moorage.api.manage.documents import Name, Pattern, text, time_of
from moorage.identity.access.rows import Visibility
from moorage.mirrors.line_rows import Line, State
from moorage.mirrors.managing import Trial
from moorage.mirrors.saving import Counted
from moorage.mirrors.stating import AUTHORITY_MAX_LENGTH, SECRET_MAX_LENGTH, Changes, Given
from moorage.mirrors.status import Status
from moorage.mirrors.upstreams import Address, AlternativesMay, Upstream

Url = Annotated[str, text(1024, "`https://registry.example`, perhaps with a port and a path", r"https?://.+")]
Host = Annotated[str, Meta(max_length=255, description="what clients call it, as `registry.example:5000`")]
Username = Annotated[str, Meta(max_length=255, description="empty: it is asked without credentials")]
Secret = Annotated[str, Meta(max_length=SECRET_MAX_LENGTH, description="a password or token")]
Authority = Annotated[
    str,
    Meta(
        max_length=AUTHORITY_MAX_LENGTH,
        description="PEM of what its certificate may come from; empty: the system's",
    ),
]
Hosts = Annotated[list[Host], Meta(max_length=64)]
Patterns = Annotated[list[Pattern], Meta(max_length=64)]
Platform = Annotated[str, Meta(max_length=100, description="as `linux/arm64`")]
Pin = Annotated[str, Meta(max_length=511, description="images, as `library/{debian,python}:*-slim`")]
Cap = Annotated[
    str, Meta(max_length=40, description="hours in UTC and bytes a second, as `08:00-18:00 2MiB`")
]
Seconds = Annotated[int, Meta(ge=0, le=365 * 86_400)]
Size = Annotated[int, Meta(ge=1, le=2**60)]


class AddressReply(Struct, frozen=True):
    """Where a registry answers, and whether it is shown credentials."""

    url: str
    username: str
    has_password: bool
    has_authority: bool


class UpstreamReply(Struct, frozen=True):
    """An upstream. `is_configured`: it stands in the settings, and is changed there."""

    name: str
    url: str
    username: str
    has_password: bool
    has_authority: bool
    hosts: list[str]
    alternatives: list[AddressReply]
    alternatives_may: AlternativesMay
    is_root: bool
    include: list[str]
    exclude: list[str]
    platforms: list[str]
    pins: list[str]
    freshness_s: int
    budget_bytes: int | None
    bandwidth: list[str]
    is_configured: bool


class NewAlternative(Struct, frozen=True, forbid_unknown_fields=True):
    """Another registry with the same content. Of one that is there, what is not sent stays."""

    url: Url
    username: Username | UnsetType = UNSET
    password: Secret | UnsetType = UNSET
    authority: Authority | UnsetType = UNSET


class UpstreamChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed of an upstream. With another address the password has to be sent again."""

    url: Url | UnsetType = UNSET
    username: Username | UnsetType = UNSET
    password: Secret | UnsetType = UNSET
    authority: Authority | UnsetType = UNSET
    hosts: Hosts | UnsetType = UNSET
    alternatives: Annotated[list[NewAlternative], Meta(max_length=64)] | UnsetType = UNSET
    alternatives_may: AlternativesMay | UnsetType = UNSET
    is_root: bool | UnsetType = UNSET
    include: Patterns | UnsetType = UNSET
    exclude: Patterns | UnsetType = UNSET
    platforms: Annotated[list[Platform], Meta(max_length=64)] | UnsetType = UNSET
    pins: Annotated[list[Pin], Meta(max_length=64)] | UnsetType = UNSET
    freshness_s: Seconds | UnsetType = UNSET
    budget_bytes: Size | UnsetType | None = UNSET
    bandwidth: Annotated[list[Cap], Meta(max_length=64)] | UnsetType = UNSET


class NewUpstream(UpstreamChange, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An upstream to be made. Without `url`: `https://` and its name, Docker Hub's for `docker.io`.

    `visibility`: of the namespace that is made with it; null: public, unless it has credentials.
    """

    name: Name
    visibility: Visibility | None = None


class UpstreamTest(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be asked; nothing: all addresses of the upstream, as they are."""

    url: Url | UnsetType = UNSET
    username: Username | UnsetType = UNSET
    password: Secret | UnsetType = UNSET
    authority: Authority | UnsetType = UNSET


class TestedAddress(Struct, frozen=True):
    """What came of asking an address; `error` null: all is well."""

    url: str
    error: str | None
    seconds: float


class TestReply(Struct, frozen=True):
    """Each address that was asked."""

    addresses: list[TestedAddress]


class RemovedReply(Struct, frozen=True):
    """How many repositories are local ones now, and how many went to the trash."""

    kept: int
    deleted: int


class SwitchedReply(Struct, frozen=True):
    """Which upstreams were disconnected or connected by it."""

    upstreams: list[str]


class LineReply(Struct, frozen=True):
    """The line to one address. `closed`: it is asked; `open`: it failed, and is left alone until `retry_at`.

    `quota_left`: what it last said that it would still answer, of `quota_limit`.
    """

    url: str
    state: State
    failures: int
    opened_at: datetime | None
    retry_at: datetime | None
    last_error: str | None
    failed_at: datetime | None
    answered_at: datetime | None
    quota_limit: int | None
    quota_left: int | None
    quota_at: datetime | None


class CountedReply(Struct, frozen=True):
    """What was counted in some time. `saved_bytes`: sent to clients without being fetched again.

    `hit_rate`: of 1, which part of the manifests and blobs that were asked for was here; null: none were.
    `stale`: answers that the upstream could not be asked about; `passed`: what could not be kept.
    """

    fetched_bytes: int
    served_bytes: int
    saved_bytes: int
    push_skipped_bytes: int
    hits: int
    misses: int
    stale: int
    passed: int
    hit_rate: float | None
    heads: int
    gets: int


class StatusReply(Struct, frozen=True):
    """How an upstream is. `month`: the last 30 days, today among them; `kept_bytes`: each blob once."""

    name: str
    is_connected: bool
    disconnected_at: datetime | None
    disconnected_by: str | None
    lines: list[LineReply]
    repositories: int
    kept_bytes: int
    budget_bytes: int | None
    today: CountedReply
    month: CountedReply


class DaySavings(Struct, frozen=True):
    """One day of UTC; all upstreams together."""

    day: str
    counted: CountedReply


class UpstreamSavings(Struct, frozen=True):
    """One upstream, or one that there was."""

    upstream: str
    counted: CountedReply


class SavingsReply(Struct, frozen=True):
    """What was saved. `shared_bytes`: what more the disk would hold now if each image had its own copies."""

    since: str
    until: str
    total: CountedReply
    days: list[DaySavings]
    upstreams: list[UpstreamSavings]
    shared_bytes: int


def show_upstream(upstream: Upstream) -> UpstreamReply:
    """An upstream as the API shows it."""
    own = _show_address(upstream.address)
    return UpstreamReply(
        upstream.name,
        own.url,
        own.username,
        own.has_password,
        own.has_authority,
        list(upstream.hosts),
        [_show_address(each) for each in upstream.alternatives],
        upstream.alternatives_may,
        upstream.is_root,
        list(upstream.include),
        list(upstream.exclude),
        list(upstream.platforms),
        list(upstream.pins),
        upstream.freshness_ms // 1000,
        upstream.budget_bytes,
        list(upstream.bandwidth),
        upstream.is_configured,
    )


def _show_address(address: Address) -> AddressReply:
    return AddressReply(address.url, address.username, bool(address.password), bool(address.authority))


def read_given(sent: UpstreamChange | NewAlternative | UpstreamTest) -> Given:
    """What was sent of an address."""
    parts = (sent.url, sent.username, sent.password, sent.authority)
    return Given(*(None if part is UNSET else part for part in parts))


def read_changes(sent: UpstreamChange) -> Changes:
    """What was sent of an upstream."""
    fields: dict[str, Any] = {"alternatives_may": sent.alternatives_may, "is_root": sent.is_root}
    for name in ("hosts", "include", "exclude", "platforms", "pins", "bandwidth"):
        value = getattr(sent, name)
        fields[name] = value if value is UNSET else tuple(value)
    fields["budget_bytes"] = sent.budget_bytes
    fields["freshness_ms"] = UNSET if sent.freshness_s is UNSET else sent.freshness_s * 1000
    alternatives = None if sent.alternatives is UNSET else [read_given(each) for each in sent.alternatives]
    said = {name: value for name, value in fields.items() if value is not UNSET}
    return Changes(said, read_given(sent), alternatives)


def show_tested(tested: Trial) -> TestedAddress:
    """A test as the API shows it."""
    return TestedAddress(tested.url, tested.error, round(tested.seconds, 3))


def show_status(status: Status) -> StatusReply:
    """A status as the API shows it."""
    off = status.disconnection
    return StatusReply(
        status.upstream.name,
        off is None,
        None if off is None else time_of(off.at),
        None if off is None else off.by,
        [_show_line(url, line) for url, line in status.lines.items()],
        status.held.repositories,
        status.held.bytes,
        status.upstream.budget_bytes,
        show_counted(status.today),
        show_counted(status.month),
    )


def _show_line(url: str, line: Line) -> LineReply:
    return LineReply(
        url,
        line.state,
        line.failures,
        _time(line.opened_at),
        _time(line.retry_at),
        line.last_error,
        _time(line.failed_at),
        _time(line.answered_at),
        line.quota_limit,
        line.quota_left,
        _time(line.quota_at),
    )


def _time(ms: int | None) -> datetime | None:
    return None if ms is None else time_of(ms)


def show_counted(counted: Counted) -> CountedReply:
    """Counts as the API shows them."""
    rate = counted.hit_rate
    return CountedReply(
        counted.fetched_bytes,
        counted.served_bytes,
        counted.saved_bytes,
        counted.push_skipped_bytes,
        counted.hits,
        counted.misses,
        counted.stale,
        counted.passed,
        None if rate is None else round(rate, 4),
        counted.heads,
        counted.gets,
    )
