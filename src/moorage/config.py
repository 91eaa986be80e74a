"""Every setting: typed, frozen, its unit in its name or type, its meaning beside it.

`config_file.py` reads them from TOML and the environment; `moorage config schema` and
docs/configuration.md are made from what stands here. A use case is given its section, not the whole.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moorage.addresses import is_loopback
from moorage.config_mirrors import MirrorSettings
from moorage.schedule import read_schedule
from moorage.setting import GIB, KIB, MIB, Bytes, required, setting

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
# grant     ::= action ("," action)* " " pattern
_GRANT = re.compile(
    r"(?:pull|push|delete)(?:,(?:pull|push|delete))* [a-z0-9*._-]+(?:/[a-z0-9*._-]+)*", re.ASCII
)
_ROBOT = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*", re.ASCII)
_PUBLIC = re.compile(r"https?://[A-Za-z0-9._\-\[\]:]+/?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the registry listens and how it runs."""

    listen: str = setting("127.0.0.1:5000", "Address and port to serve on. Port 0 takes a free one.")
    workers: int = setting(0, "Worker processes; 0 is one for each processor, four at most.")
    public: tuple[str, ...] = setting(
        (),
        "Addresses by which clients reach the registry through a proxy, as `https://registry.example`."
        " The one that a client used is named to it, else the first.",
    )
    proxies: tuple[str, ...] = setting(
        (), "Addresses or networks of proxies whose `Forwarded` or `X-Forwarded-*` headers are believed."
    )
    insecure_passwords: bool = setting(
        False,  # noqa: FBT003
        "Whether passwords are taken over plain HTTP from other machines: anyone on the way reads them.",
    )
    drain: timedelta = setting(
        timedelta(seconds=30), "After SIGTERM, how long requests under way may take before they are cut."
    )
    insecure_http: bool = setting(
        False,  # noqa: FBT003
        "Plain HTTP also beyond loopback: everyone on the way can read all and put other images in.",
    )

    @property
    def host(self) -> str:
        """The address, without the brackets of IPv6."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def port(self) -> int:
        """The port."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Whether only this machine can come in: a loopback address, and no proxy is known of."""
        return self.is_loopback and not self.public and not self.proxies

    @property
    def worker_count(self) -> int:
        """How many worker processes there are to be."""
        return self.workers or min(os.cpu_count() or 1, 4)

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        host, _, port = self.listen.rpartition(":")
        if not host or _PORT.fullmatch(port) is None or int(port) > 65535:  # noqa: PLR2004 - the last port
            found.append(("listen", f"want HOST:PORT, as 127.0.0.1:5000; this is {self.listen!r}"))
        if not 0 <= self.workers <= 256:  # noqa: PLR2004 - metrics.WORKERS_MAX
            found.append(("workers", "want 0 to 256"))
        found += [
            ("public", f"want https://HOST or https://HOST:PORT; this is {each!r}")
            for each in self.public
            if _PUBLIC.fullmatch(each) is None
        ]
        for each in self.proxies:
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError:
                found.append(("proxies", f"want an address or a network, as 10.0.0.0/8; this is {each!r}"))
        if not timedelta(seconds=1) <= self.drain <= timedelta(minutes=30):
            found.append(("drain", "want 1s to 30m"))
        return found


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How the line is encrypted."""

    mode: str = setting(
        "auto",
        "When to encrypt. auto: wherever others than this machine can connect; always: on loopback too.",
    )
    certificate: Path | None = setting(
        None, "A certificate of your own, PEM, with those that lead to its root. Unset: Moorage makes one."
    )
    key: Path | None = setting(None, "The certificate's key, PEM, without a password.")
    names: tuple[str, ...] = setting(
        (), "More host names and addresses that Moorage's own certificate is to be for."
    )

    @property
    def is_always(self) -> bool:
        """Whether there is TLS on loopback too."""
        return self.mode == "always" or self.certificate is not None

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if self.mode not in {"auto", "always"}:
            found.append(("mode", "want auto or always"))
        if (self.certificate is None) != (self.key is None):
            missing, present = ("key", "certificate") if self.key is None else ("certificate", "key")
            found.append((missing, f"want a path too, as tls.{present} has one"))
        if self.certificate is not None and self.names:
            found.append(("names", "are for Moorage's own certificate; tls.certificate names another"))
        return found


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where the data lies."""

    data: Path = setting(Path("./data"), "Folder of the database, the blobs and the uploads.")
    reserve: Bytes = setting(
        Bytes(GIB),
        "Pushes are refused with 507 below this much free space (or 5 % of the disk, if that is less).",
    )
    quarantine: timedelta = setting(
        timedelta(days=30), "How long files are kept that were damaged, or that no row names."
    )

    @property
    def database(self) -> Path:
        """The database file."""
        return self.data / "moorage.db"

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if self.reserve < 0:
            found.append(("reserve", "cannot be negative"))
        if self.quarantine < timedelta(days=1):
            found.append(("quarantine", "want 1d or more"))
        return found


@dataclass(frozen=True, slots=True)
class ScrubSettings:
    """Reading everything again, to find what the disk has lost."""

    period: timedelta = setting(
        timedelta(days=7), "How long after one round of reading everything the next begins."
    )
    rate: Bytes = setting(Bytes(50 * MIB), "Bytes a second that it reads at most; 0 is as fast as it can.")

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if self.period < timedelta(hours=1):
            found.append(("period", "want 1h or more"))
        if self.rate < 0:
            found.append(("rate", "cannot be negative"))
        return found


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Backups that are made by themselves; see `moorage backup` for those that are not."""

    folder: Path | None = setting(None, "Where backups are made, on another disk. Unset: none are.")
    keep: int = setting(7, "How many of them stay.")
    by_link: bool = setting(
        False,  # noqa: FBT003
        "Whether blobs are shared with the store where both lie on one file system: no copy, no second disk.",
    )

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        return [("keep", "want 1 or more")] if self.keep < 1 else []


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """Limits on blobs on their way in."""

    expiry: timedelta = setting(timedelta(days=7), "An upload that gets no bytes for this long is dropped.")
    max_open: int = setting(1000, "Uploads that one client address may have open; more are refused with 429.")
    max_bytes: Bytes | None = setting(
        None, "Largest blob; larger ones are refused with 413. Unset: no limit."
    )

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if self.expiry < timedelta(seconds=1):
            found.append(("expiry", "want 1s or more"))
        if self.max_open < 1:
            found.append(("max_open", "want 1 or more"))
        if self.max_bytes is not None and self.max_bytes < 1:
            found.append(("max_bytes", "want 1 or more"))
        return found


@dataclass(frozen=True, slots=True)
class ManifestSettings:
    """Limits on manifests."""

    max_bytes: Bytes = setting(Bytes(4 * MIB), "Largest manifest; larger ones are refused with 413.")

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        if not KIB <= self.max_bytes <= 64 * MIB:
            return [("max_bytes", "want 1KiB to 64MiB; clients read 4MiB")]
        return []


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """Repositories."""

    old_names: timedelta = setting(
        timedelta(days=30), "How long images can be pulled by the name a repository had. 0s: not at all."
    )

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        return [("old_names", "cannot be negative")] if self.old_names < timedelta(0) else []


@dataclass(frozen=True, slots=True)
class DeleteSettings:
    """Deleting, and what becomes of what was deleted."""

    enabled: bool = setting(True, "Whether tags, manifests and blobs may be deleted; if not, 405.")  # noqa: FBT003
    needed: bool = setting(
        False,  # noqa: FBT003
        "Whether what an image needs may be deleted alone, as a layer or a child of an index; if not, 409.",
    )
    grace: timedelta = setting(
        timedelta(days=7), "How long what was deleted stays in the trash, from where it can be restored."
    )
    delay: timedelta = setting(
        timedelta(hours=24),
        "How long a blob stays that nothing needs any more, or that was pushed and nothing needs yet.",
    )

    @property
    def grace_ms(self) -> int:
        """The grace in milliseconds."""
        return int(self.grace.total_seconds() * 1000)

    @property
    def delay_ms(self) -> int:
        """The delay in milliseconds."""
        return int(self.delay.total_seconds() * 1000)

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if not timedelta(0) <= self.grace <= timedelta(days=3650):
            found.append(("grace", "want 0s to 3650d"))
        if not timedelta(seconds=1) <= self.delay <= timedelta(days=365):
            found.append(("delay", "want 1s to 365d; a push must end within it"))
        return found


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Tokens."""

    life: timedelta = setting(
        timedelta(minutes=5), "How long a bearer token lasts, which clients fetch for each push or pull."
    )

    expiry_max: timedelta = setting(
        timedelta(days=365), "How long a token that someone makes for a machine may last."
    )

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if self.expiry_max < timedelta(hours=1):
            found.append(("expiry_max", "want 1h or more"))
        if not timedelta(seconds=60) <= self.life <= timedelta(hours=1):
            found.append(("life", "want 60s to 1h; clients take less than 60s for 60s"))
        return found


@dataclass(frozen=True, slots=True)
class Trust:
    """Tokens of another issuer that are exchanged for one of the registry's own."""

    name: str = required(
        "The robot that such a token stands for, made when it first comes: docker's user name."
    )
    issuer: str = required("Who signs the tokens: exactly as their `iss` has it.")
    audience: str = required("For whom they are: one of what their `aud` has.")
    claims: Mapping[str, str] = required(
        'What else they must say, as `{ repository = "acme/app", ref = "refs/heads/*" }`. A `*` at the end'
        " stands for anything, elsewhere for anything but `/` and `:`."
    )
    grants: tuple[str, ...] = required(
        "What the registry's token may do, as `push team/*`, `pull library/*`; no more and no less."
    )
    life: timedelta = setting(timedelta(hours=1), "How long the registry's token lasts.")

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if _ROBOT.fullmatch(self.name) is None or len(self.name) > 64:  # noqa: PLR2004 - names.NAME_MAX_LENGTH
            found.append(("name", f"want the name of an account, as bot.ci; this is {self.name!r}"))
        if self.name in {"everyone", "anonymous", "operator"}:
            found.append(("name", f"{self.name} has a meaning of its own; choose another"))
        found += [("issuer", problem) for problem in _issuer_problems(self.issuer)]
        if not self.audience:
            found.append(("audience", "cannot be empty: a token for another service would do"))
        if all(value.strip("*") == "" for value in self.claims.values()):
            found.append(("claims", "want at least one that not every token of the issuer has"))
        found += [
            ("grants", f"want an action and a pattern, as push team/*; this is {each!r}")
            for each in self.grants
            if _GRANT.fullmatch(each) is None
        ]
        if not self.grants:
            found.append(("grants", "want at least one, as push team/*"))
        if not timedelta(minutes=1) <= self.life <= timedelta(days=1):
            found.append(("life", "want 1m to 1d"))
        return found


def _issuer_problems(issuer: str) -> list[str]:
    """What is wrong with an issuer's address."""
    try:
        parts = urlsplit(issuer)
        is_plain = bool(parts.hostname) and not (
            parts.query or parts.fragment or parts.username or parts.port == 0
        )
    except ValueError:
        return [f"want a URL, as https://issuer.example; this is {issuer!r}"]
    if not is_plain or parts.scheme not in {"https", "http"}:
        return [f"want a URL, as https://issuer.example; this is {issuer!r}"]
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        return ["want https: keys that come over plain HTTP could be anyone's"]
    return []


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Signing in by OpenID Connect: people at their provider, CI by the tokens it has anyway."""

    issuer: str | None = setting(
        None, "The provider at which people sign in, exactly as its tokens have it. Unset: they do not."
    )
    client_id: str = setting("moorage", "By which name the registry is known to that provider.")
    client_secret_file: Path | None = setting(
        None, "File with the client's secret, read when someone signs in. Unset: a public client."
    )
    name_claim: str = setting("preferred_username", "The claim by which a new account is named.")
    create_accounts: bool = setting(
        False,  # noqa: FBT003
        "Whether someone who signs in for the first time is given an account.",
    )
    private_addresses: tuple[str, ...] = setting(
        (),
        "Networks in which issuers are asked for their keys though the addresses are private, loopback or"
        " link-local, as `10.0.0.0/8`.",
    )
    trusts: tuple[Trust, ...] = setting((), "Whose tokens CI may exchange; the first that fits counts.")

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = [("issuer", problem) for problem in _issuer_problems(self.issuer or "https://unset.example")]
        found += [(key, "cannot be empty") for key in ("client_id", "name_claim") if not getattr(self, key)]
        for each in self.private_addresses:
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError:
                found.append(("private_addresses", f"want a network, as 10.0.0.0/8; this is {each!r}"))
        names = [each.name for each in self.trusts]
        found += [
            ("trusts", f"{name} is there twice; each trust is a robot of its own")
            for name in sorted(set(names))
            if names.count(name) > 1
        ]
        return found


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What a client may take of the server's time and memory."""

    header_timeout: timedelta = setting(
        timedelta(seconds=10), "A request whose header is not complete after this long is cut off."
    )
    idle_timeout: timedelta = setting(
        timedelta(seconds=75), "A kept connection without a request for this long is closed."
    )
    body_idle: timedelta = setting(
        timedelta(seconds=30),
        "A body that stops, or comes slower than body_rate, for this long is refused with 408.",
    )
    body_rate: Bytes = setting(Bytes(KIB), "Least bytes a second of a body, averaged over body_idle.")
    reader_idle: timedelta = setting(
        timedelta(seconds=60), "A client that takes nothing of its reply for this long is cut off."
    )
    connections: int = setting(
        2000, "Connections a worker process serves at once; more are refused with 503."
    )

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        second, minute = timedelta(seconds=1), timedelta(minutes=1)
        found = []
        if not timedelta(milliseconds=1) <= self.header_timeout <= minute:
            found.append(("header_timeout", "want 1ms to 60s"))
        found += [
            (key, "want 1s or more")
            for key in ("idle_timeout", "body_idle", "reader_idle")
            if getattr(self, key) < second
        ]
        if self.body_rate < 0:
            found.append(("body_rate", "cannot be negative"))
        if self.connections < 1:
            found.append(("connections", "want 1 or more"))
        return found


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Work beside the requests. When: `every 30s` (or m, h, d), five fields of cron in UTC, or `off`."""

    beside: bool = setting(
        True,  # noqa: FBT003
        "Whether `moorage serve` runs a job worker of its own; if not, run `moorage worker` beside it.",
    )
    garbage: str = setting("every 1m", "When garbage is collected, if there is any.")
    check: str = setting("0 4 * * 0", "When rows and files are compared both ways.")
    scrub: str = setting("every 15m", "When it is looked whether a round of scrub.period is due.")
    backup: str = setting("0 2 * * *", "When a backup is made, if backup.folder is set.")
    history: int = setting(1000, "How many jobs that have ended are remembered, of each kind.")
    history_age: timedelta = setting(timedelta(days=30), "How long a job that has ended is remembered.")
    retention: str = setting("17 3 * * *", "When the rules of retention are followed.")
    untagged: str = setting("every 1h", "When manifests that nothing leads to are looked for.")
    evict: str = setting("every 15m", "When it is looked whether an upstream is over its budget.")
    prefetch: str = setting("17 1 * * *", "When what upstreams have pinned is fetched.")

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if not 1 <= self.history <= 100_000:  # noqa: PLR2004 - a minute's look at them stays short
            found.append(("history", "want 1 to 100000"))
        if self.history_age < timedelta(minutes=1):
            found.append(("history_age", "want 1m or more"))
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, str):
                # a text here is a schedule
                try:
                    read_schedule(value)
                except ValueError as error:
                    found.append((each.name, str(error)))
        return found


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """What leaves by itself, through the trash."""

    wait: timedelta = setting(
        timedelta(hours=24), "How long a new rule takes nothing by the schedule, so that someone may look."
    )
    untagged: timedelta = setting(
        timedelta(days=14),
        "How long a manifest stays that no tag, index or subject leads to, after its last push or pull."
        " 0s: for ever.",
    )

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if self.wait < timedelta(0):
            found.append(("wait", "cannot be negative"))
        if timedelta(0) != self.untagged < timedelta(hours=1):
            found.append(("untagged", "want 1h or more, or 0s; an index is pushed after its children"))
        return found


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log, on standard error."""

    level: str = setting("info", "debug, info, warning or error.")
    format: str = setting(
        "auto", "text for a person, json for a machine; auto asks whether it is a terminal."
    )
    requests: bool = setting(False, "Whether each request is an event; costs a quarter of the speed.")  # noqa: FBT003

    def problems(self) -> list[tuple[str, str]]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        if self.level not in {"debug", "info", "warning", "error"}:
            found.append(("level", "want debug, info, warning or error"))
        if self.format not in {"auto", "text", "json"}:
            found.append(("format", "want auto, text or json"))
        return found


@dataclass(frozen=True, slots=True)
class Settings:
    """All sections."""

    server: ServerSettings = field(default_factory=ServerSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    scrub: ScrubSettings = field(default_factory=ScrubSettings)
    backup: BackupSettings = field(default_factory=BackupSettings)
    uploads: UploadSettings = field(default_factory=UploadSettings)
    manifests: ManifestSettings = field(default_factory=ManifestSettings)
    repositories: RepositorySettings = field(default_factory=RepositorySettings)
    delete: DeleteSettings = field(default_factory=DeleteSettings)
    tokens: TokenSettings = field(default_factory=TokenSettings)
    oidc: OidcSettings = field(default_factory=OidcSettings)
    mirrors: MirrorSettings = field(default_factory=MirrorSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    log: LogSettings = field(default_factory=LogSettings)


@dataclass(frozen=True, slots=True)
class Described:
    """A setting as the documentation and the schema show it."""

    section: str
    key: str
    type: Any
    default: object
    meaning: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"MOORAGE_{self.section}_{self.key}".upper()


def describe() -> list[Described]:
    """Every setting, in the order of the sections."""
    defaults = Settings()
    return [
        Described(section.name, each.name, each.type, each.default, each.metadata["meaning"])
        for section in fields(Settings)
        for each in fields(getattr(defaults, section.name))
    ]
