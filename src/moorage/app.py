"""The wiring: settings in, a running registry out. It knows everybody; nobody but the CLI knows it."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from moorage import logs, mirroring
from moorage.api.dispatch import Dispatcher
from moorage.api.fronts import Fronts
from moorage.api.gate import Gate
from moorage.api.metrics import Metrics
from moorage.api.operations import Operations
from moorage.api.v2.services import Services
from moorage.config import Settings
from moorage.database import Database
from moorage.databases import sqlite
from moorage.errors import RegistryError
from moorage.health import Health
from moorage.identity.accounts.attempts import Attempts
from moorage.identity.accounts.passwords import Passwords, Turns
from moorage.identity.callers.caller import OPERATOR, Caller
from moorage.identity.callers.callers import Callers
from moorage.identity.federation.exchanging import Exchanges
from moorage.identity.federation.visiting import Visits
from moorage.identity.tokens.keys import rotate_if_due
from moorage.issuers.client import HttpIssuers
from moorage.lifecycle.retention import running as retention
from moorage.lifecycle.store.sequence import Sequence
from moorage.lifecycle.sweep import Sweep
from moorage.lifecycle.untagged import clearing as untagged
from moorage.mirrors.configuring import UpstreamsUnusable
from moorage.mirrors.mirrors import Mirrors
from moorage.records.jobs.alive import has_worker
from moorage.records.jobs.running import Handler
from moorage.records.jobs.scheduling import Scheduled
from moorage.records.jobs.working import JobWorker
from moorage.registry.blobs.second_digest import SecondDigests
from moorage.registry.blobs.serving import BlobServer
from moorage.registry.images.platforms import PlatformReader
from moorage.registry.pulls.counting import Pulls
from moorage.registry.repositories.rows import has_repositories
from moorage.registry.uploads.uploading import Uploads
from moorage.schedule import read_schedule
from moorage.storage.filesystem import FilesystemStore
from moorage.storage.upkeep import FilesystemUpkeep
from moorage.transfer.backing_up import Source
from moorage.transfer.restoring import MARKER
from moorage.upkeep import Upkeep, backup_source
from moorage.upstream.client import HttpRegistry
from moorage.web.routes import PAGES
from moorage.web.trust import TrustPages

_DISK_THREADS = 16
_WORKER_THREADS = 4
_KEEP_EVERY_S = 10.0

log = structlog.get_logger()


class StartRefused(Exception):
    """The registry cannot start; the sentence says why and what to do."""


@asynccontextmanager
async def open_registry(
    settings: Settings,
    health: Health,
    metrics: Metrics,
    attempts: Attempts,
    disk_threads: int = _DISK_THREADS,
    trust: TrustPages | None = None,
    turns: Turns | None = None,
) -> AsyncIterator[Dispatcher]:
    """The ASGI application of one worker process, its database and threads open until the end."""
    threads = ThreadPoolExecutor(disk_threads, thread_name_prefix="disk")
    opened = _open(settings, health, attempts, threads, turns=turns)
    services = opened.services
    await _make_key(opened.db)
    await _compare_sequence(opened)
    await _make_namespaces(services)
    keeping = [asyncio.create_task(_keep(services)), asyncio.create_task(services.mirrors.keep())]
    try:
        yield Dispatcher(services, Operations(services, health, metrics, trust), metrics, PAGES)
    finally:
        for each in keeping:
            each.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
        try:
            await services.pulls.write()
        finally:
            await opened.close()


@dataclass(frozen=True, slots=True)
class Work:
    """What one job worker does beside the requests."""

    jobs: JobWorker
    sweep: Sweep
    mirrors: Mirrors

    async def run(self) -> None:
        """Until cancelled; jobs under way are then queued again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.jobs.run())
            tasks.create_task(self.sweep.run())
            tasks.create_task(self.mirrors.keep())


@asynccontextmanager
async def open_worker(settings: Settings, health: Health) -> AsyncIterator[Work]:
    """A job worker on a data folder that is prepared, its database and threads open until the end."""
    threads = ThreadPoolExecutor(_WORKER_THREADS, thread_name_prefix="disk")
    opened = _open(settings, health, Attempts(), threads)
    data = settings.storage.data
    await _compare_sequence(opened)
    try:
        yield Work(
            JobWorker(opened.db, data, _handlers(opened), _schedules(opened), settings.jobs),
            Sweep(
                data / "sweep.lock",
                opened.db,
                opened.services.uploads,
                opened.second_digests,
                Sequence(opened.db, data),
            ),
            opened.services.mirrors,
        )
    finally:
        await opened.close()


@dataclass(frozen=True, slots=True)
class Folder:
    """A data folder as its operator works on it: the ASGI application, and jobs where no worker is alive."""

    application: Dispatcher
    jobs: JobWorker
    data: Path

    def has_worker(self) -> bool:
        """Whether jobs are run by someone else."""
        return has_worker(self.data)


@asynccontextmanager
async def open_local(settings: Settings) -> AsyncIterator[Folder]:
    """A data folder, also while `serve` runs on it: each caller is its operator.

    Nothing is swept, no job runs by itself, and no one comes in but through this process.
    Raises StartRefused where the folder holds no registry, or one of another version.
    """
    check_folder(settings)
    logs.configure(replace(settings.log, level="error"))
    health, metrics = Health(), Metrics(1)
    metrics.claim_row(0)
    threads = ThreadPoolExecutor(_WORKER_THREADS, thread_name_prefix="disk")
    opened = _open(settings, health, Attempts(), threads, operator=OPERATOR)
    await _compare_sequence(opened)
    try:
        operations = Operations(opened.services, health, metrics, None)
        data = settings.storage.data
        yield Folder(
            Dispatcher(opened.services, operations, metrics, PAGES),
            JobWorker(opened.db, data, _handlers(opened), {}, settings.jobs),
            data,
        )
    finally:
        await opened.close()


@dataclass(frozen=True, slots=True)
class Holding:
    """The rows and bytes of a data folder, for what its operator brings and takes."""

    db: Database
    store: FilesystemStore
    uploads: Uploads
    threads: ThreadPoolExecutor
    settings: Settings


@asynccontextmanager
async def open_holding(settings: Settings) -> AsyncIterator[Holding]:
    """What a data folder holds, also while `serve` runs on it.

    Raises StartRefused.
    """
    check_folder(settings)
    logs.configure(replace(settings.log, level="error"))
    health = Health()
    threads = ThreadPoolExecutor(_WORKER_THREADS, thread_name_prefix="disk")
    db, store = sqlite.SqliteDatabase(settings.storage.database, health), _store(settings, health)
    try:
        uploads = Uploads(db, store, threads, settings.uploads, settings.delete.delay_ms)
        yield Holding(db, store, uploads, threads, settings)
    finally:
        threads.shutdown()
        db.close()


@asynccontextmanager
async def open_for_backup(settings: Settings) -> AsyncIterator[Source]:
    """What a backup of a data folder is made of, also while `serve` runs on it.

    Raises StartRefused.
    """
    check_folder(settings)
    logs.configure(replace(settings.log, level="error"))
    health = Health()
    db = sqlite.SqliteDatabase(settings.storage.database, health)
    try:
        yield backup_source(db, _store(settings, health), settings)
    finally:
        db.close()


def check_folder(settings: Settings) -> None:
    """See that a registry is there, of this version.

    Raises StartRefused.
    """
    _check_restored(settings)
    path = settings.storage.database
    if not path.exists():
        raise StartRefused(
            f"no registry in {settings.storage.data} yet; start it once, or name its folder with --data"
        )
    try:
        sqlite.check(path)
    except sqlite.DatabaseRefused as refusal:
        raise StartRefused(str(refusal)) from refusal


@dataclass(frozen=True, slots=True)
class _Opened:
    """What endpoints call, and what has to be closed behind them."""

    services: Services
    db: sqlite.SqliteDatabase
    store: FilesystemStore
    second_digests: SecondDigests
    issuers: HttpIssuers
    registry: HttpRegistry
    threads: ThreadPoolExecutor

    async def close(self) -> None:
        await self.services.mirrors.close()
        await self.registry.close()
        await self.issuers.close()
        self.services.passwords.close()
        self.threads.shutdown()
        self.db.close()


def _open(
    settings: Settings,
    health: Health,
    attempts: Attempts,
    threads: ThreadPoolExecutor,
    operator: Caller | None = None,
    turns: Turns | None = None,
) -> _Opened:
    """Ports and use cases over a data folder. `operator`: who each caller is, where no one else comes in."""
    db = sqlite.SqliteDatabase(settings.storage.database, health)
    store = _store(settings, health)
    uploads = Uploads(db, store, threads, settings.uploads, settings.delete.delay_ms)
    second_digests = SecondDigests(db, store, threads)
    passwords = Passwords(turns)
    callers = Callers(db, passwords, attempts)
    gate = Gate(
        db,
        callers,
        Fronts(settings.server),
        is_local=settings.server.is_local,
        may_use_password_in_plain=settings.server.insecure_passwords,
        operator=operator,
    )
    blobs = BlobServer(db, store, threads, second_digests, settings.delete.delay_ms)
    issuers = HttpIssuers(settings.oidc)
    registry = HttpRegistry(settings.mirrors.private_addresses)
    try:
        mirrors = mirroring.open_mirrors(settings, db, store, threads, uploads, registry)
    except UpstreamsUnusable as error:
        raise StartRefused(str(error)) from error
    exchanges = Exchanges(db, issuers, settings.oidc.trusts, attempts)
    visits = Visits(db, issuers, settings.oidc, has_repositories)
    services = Services(
        settings,
        db,
        store,
        blobs,
        uploads,
        callers,
        passwords,
        gate,
        exchanges,
        visits,
        Pulls(db),
        PlatformReader(db, store, threads),
        FilesystemUpkeep(store),
        mirrors,
        mirroring.manage_upstreams(settings, db, registry, mirrors),
    )
    return _Opened(services, db, store, second_digests, issuers, registry, threads)


def _upkeep(opened: _Opened) -> Upkeep:
    return Upkeep(opened.db, opened.store, opened.threads, opened.services.settings)


def _handlers(opened: _Opened) -> Mapping[str, Handler]:
    """Who does the work of each kind of job."""
    db, settings = opened.db, opened.services.settings
    return {
        **_upkeep(opened).handlers(),
        **mirroring.handlers(db, opened.services.mirrors),
        retention.KIND: retention.Retention(db, settings.delete).run,
        untagged.KIND: untagged.Untagged(db, settings.delete, settings.retention.untagged).run,
    }


def _schedules(opened: _Opened) -> Mapping[str, Scheduled]:
    """Which kinds of job are asked for again and again."""
    settings = opened.services.settings
    jobs = settings.jobs
    leaving = untagged.Untagged(opened.db, settings.delete, settings.retention.untagged)
    return {
        **_upkeep(opened).schedules(),
        **mirroring.schedules(opened.db, opened.services.mirrors, jobs),
        retention.KIND: Scheduled(read_schedule(jobs.retention), retention.has_rules),
        untagged.KIND: Scheduled(read_schedule(jobs.untagged), leaving.is_due),
    }


async def _compare_sequence(opened: _Opened) -> None:
    """Before anything is done on a folder: notice a database that was put back."""
    try:
        await Sequence(opened.db, opened.services.settings.storage.data).compare()
    except RegistryError as refusal:
        # no garbage is collected either where nothing can be written
        log.warning("sequence_not_compared", reason=str(refusal))


async def _make_namespaces(services: Services) -> None:
    """Each upstream of the settings has a namespace, which says who may pull. Without room, not yet."""
    try:
        await services.managed.make_namespaces()
    except RegistryError as refusal:
        log.warning("upstream_namespaces_not_made", reason=str(refusal))


async def _make_key(db: Database) -> None:
    """A key to sign bearer tokens with. Without room for one, what needs no new token goes on."""
    try:
        await rotate_if_due(db)
    except RegistryError as refusal:
        log.warning("key_not_made", reason=str(refusal))


async def _keep(services: Services) -> None:
    """Now and then, see to the signing key, write down which tokens were used and what was pulled."""
    while True:
        await asyncio.sleep(_KEEP_EVERY_S)
        # here, not in the job worker: without a key no one could push or pull
        await _make_key(services.db)
        await services.pulls.write()
        try:
            await services.callers.record_uses()
        except RegistryError as refusal:
            log.warning("token_uses_lost", reason=str(refusal))


def _store(settings: Settings, health: Health) -> FilesystemStore:
    return FilesystemStore(settings.storage.data, health, settings.storage.reserve)


def _check_restored(settings: Settings) -> None:
    """Raises StartRefused for half of a restore: without its database it would become an empty registry."""
    marker = settings.storage.data / MARKER
    if marker.exists():
        raise StartRefused(
            f"{settings.storage.data} is half of a restore. Repeat the moorage restore that was cut."
        )


def prepare(settings: Settings) -> int:
    """Make the data folder and the database ready; a lock on the folder, held until it is closed.

    Raises StartRefused.
    """
    os.umask(0o077)
    data = settings.storage.data
    _check_restored(settings)
    try:
        _store(settings, Health()).prepare()
        lock = os.open(data / "moorage.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartRefused(
            f"cannot use the data folder {data}: {error.strerror}."
            " Mend its owner, or choose another with --data."
        ) from error
    except RegistryError as refusal:
        raise StartRefused(f"cannot use the data folder {data}: {refusal}. Look at its disk.") from refusal
    is_worked_on = False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_worked_on = has_worker(data)
        if is_worked_on:
            # the schema stays as it is under what runs on it
            sqlite.check(settings.storage.database)
        sqlite.prepare(settings.storage.database)
    except BlockingIOError as error:
        os.close(lock)
        raise StartRefused(
            f"another Moorage serves the data folder {data}. Stop it, or choose another folder with --data."
        ) from error
    except sqlite.DatabaseRefused as refusal:
        os.close(lock)
        also = " A job worker runs on the folder: stop that before." if is_worked_on else ""
        raise StartRefused(f"{refusal}{also}") from refusal
    except OSError as error:
        os.close(lock)
        raise StartRefused(
            f"cannot use the data folder {data}: {error.strerror}. Look at its disk."
        ) from error
    return lock
