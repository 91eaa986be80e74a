"""The rows in one SQLite file, through apsw.

Reads run on the event loop: 10 to 20 microseconds, and in WAL mode no reader waits. Writes go to one
thread with one connection, which puts whatever is waiting into one transaction, each write in a
savepoint of its own, so that many writers share one fsync. `synchronous=FULL`: a commit that was
answered survives a power cut.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw
import structlog

from moorage.database import Row, Transaction
from moorage.databases.migrating import SchemaRefused, find_due, migrate, migrations
from moorage.errors import DatabaseBusy, DatabaseFull, StorageFailed, StorageReadOnly
from moorage.health import Health
from moorage.oci.versions import version_key

T = TypeVar("T")
log = structlog.get_logger()

BUSY_TIMEOUT_MS = 5_000
BATCH_MAX = 64
_CHECKPOINT_PAGES = 4_000
_STATEMENTS_CACHED = 200
_SYNC_FAILURES = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})


class DatabaseRefused(Exception):
    """The database file cannot be used; the sentence says why and what to do."""


def _connect(path: Path, *, can_write: bool) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if can_write else 0)
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=_STATEMENTS_CACHED)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    # who waits for another's write looks every millisecond, not after ever longer naps
    connection.setlk_timeout(BUSY_TIMEOUT_MS, 0)
    # a file that is refused is left as it is: SQLite would take in its log as it closes
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    # else SQLite plans a query anew whenever its values change: 18 us a read instead of 4
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA mmap_size = 0")
    # SQLite's own checkpoints keep a failed fsync to themselves; see `_checkpoint`
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    return connection


def _version_key(*values: object) -> str:
    """For migrations: of a tag that is there already."""
    return version_key(str(values[0]))


def prepare(path: Path) -> None:
    """Make or migrate the database before any worker opens it.

    Raises DatabaseRefused, with the file untouched.
    """
    try:
        connection = _connect(path, can_write=True)
        connection.create_scalar_function("moorage_version_key", _version_key, 1, deterministic=True)
        try:
            for migration in migrate(connection, migrations()):
                log.info("schema_migrated", migration=migration.name)
            _check_schema(connection)
        except BaseException:
            # as in `_connect`
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            raise
        finally:
            connection.close()
    except SchemaRefused as refusal:
        raise DatabaseRefused(f"{path}: {refusal}") from refusal
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise DatabaseRefused(
            f"{path} is damaged ({error}). It was left as it is: move it aside and restore a backup."
        ) from error
    except apsw.CantOpenError as error:
        raise DatabaseRefused(
            f"{path} cannot be opened: {error}. Check the folder's owner and mode."
        ) from error
    except (apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.BusyError) as error:
        raise DatabaseRefused(f"{path} cannot be prepared: {error}.") from error


def check(path: Path) -> None:
    """See that a database is there and has this program's schema; change nothing.

    Raises DatabaseRefused.
    """
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            is_due = bool(find_due(connection, migrations()))
        finally:
            connection.close()
    except SchemaRefused as refusal:
        raise DatabaseRefused(f"{path}: {refusal}") from refusal
    except apsw.Error as error:
        raise DatabaseRefused(f"{path} cannot be opened: {error}. `moorage doctor` looks closer.") from error
    if is_due:
        raise DatabaseRefused(f"{path} was written by an older Moorage; start this one on it first.")


def _check_schema(connection: apsw.Connection) -> None:
    """Read the root of every table: finds a file cut short or overwritten without reading it all."""
    for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        connection.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchall()
    pages = connection.pragma("page_count")
    size = connection.pragma("page_size")
    path = Path(connection.filename)
    if connection.pragma("freelist_count") > pages or path.stat().st_size % size:
        raise apsw.CorruptError("the file's size does not fit its header")


class SqliteTransaction:
    """Inside the writer's transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        return self._connection.execute(sql, values).fetchone()

    def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[object] = ()) -> int:
        self._connection.execute(sql, values)
        return self._connection.changes()


@dataclass(slots=True)
class _Write:
    work: Callable[[Transaction], Any]
    answer: asyncio.Future[Any]
    value: Any = None
    error: BaseException | None = None


def _settle(batch: list[_Write]) -> None:
    """On the loop: give each writer its value or its refusal."""
    for write in batch:
        if write.answer.done():
            continue
        if write.error is not None:
            write.answer.set_exception(write.error)
        else:
            write.answer.set_result(write.value)


class SqliteDatabase:
    """The rows as one worker process sees them. Opened on the loop's thread, after the fork."""

    def __init__(self, path: Path, health: Health) -> None:
        self._health = health
        self._path = path
        # here, not in its thread: a worker that cannot write shall not start
        writing = _connect(path, can_write=True)
        self._reader = _connect(path, can_write=False)
        self._execute = self._reader.execute
        self._wal_pages = 0
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, args=(writing,), name="database", daemon=True)
        self._writer.start()

    async def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        return self._execute(sql, values).fetchone()

    async def all(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        return self._execute(sql, values).fetchall()

    async def scan(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        def read() -> list[Row]:
            connection = _connect(self._path, can_write=False)
            try:
                return connection.execute(sql, values).fetchall()
            finally:
                connection.close()

        return await asyncio.to_thread(read)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        if self._health.failure is not None:
            raise StorageReadOnly
        write = _Write(work, asyncio.get_running_loop().create_future())
        self._queue.put(write)
        answer: T = await write.answer
        return answer

    def close(self) -> None:
        """Finish what is waiting, then close both connections."""
        self._queue.put(None)
        self._writer.join()
        self._reader.close()

    def _write_all(self, connection: apsw.Connection) -> None:
        connection.setwalhook(self._note_pages)
        transaction = SqliteTransaction(connection)
        while (write := self._queue.get()) is not None:
            batch, is_last = self._gather(write)
            try:
                self._commit(connection, transaction, batch)
            except Exception as error:  # noqa: BLE001 - told to every client that waits
                self._undo(connection, batch, error)
            with suppress(RuntimeError):  # the loop closed: no one waits any more
                write.answer.get_loop().call_soon_threadsafe(_settle, batch)
            if self._wal_pages >= _CHECKPOINT_PAGES:
                self._checkpoint(connection)
            if is_last:
                break
        self._checkpoint(connection)
        connection.close()

    def _note_pages(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self, connection: apsw.Connection) -> None:
        """Copy the log into the database file, behind the replies.

        A failed fsync is final here too: another would say that all is well.
        """
        self._wal_pages = 0
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.BusyError, apsw.LockedError):
            return
        except apsw.Error as error:
            self._refusal(error)
            log.error("checkpoint_failed", reason=str(error))  # noqa: TRY400 - the reason says it all

    def _gather(self, first: _Write) -> tuple[list[_Write], bool]:
        batch = [first]
        while len(batch) < BATCH_MAX:
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
            if write is None:
                return batch, True
            batch.append(write)
        return batch, False

    @staticmethod
    def _commit(connection: apsw.Connection, transaction: SqliteTransaction, batch: list[_Write]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if len(batch) == 1:
            # alone it needs no savepoint: what it raises undoes the transaction
            batch[0].value = batch[0].work(transaction)
            connection.execute("COMMIT")
            return
        for write in batch:
            connection.execute("SAVEPOINT one")
            try:
                write.value = write.work(transaction)
            except (apsw.FullError, apsw.IOError, apsw.CorruptError):
                raise
            except Exception as error:  # noqa: BLE001 - a refusal, told to the one who asked
                write.error = error
                connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
        connection.execute("COMMIT")

    def _undo(self, connection: apsw.Connection, batch: list[_Write], error: Exception) -> None:
        """Nothing of the batch is kept; every write in it is told why."""
        with suppress(apsw.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        refusal = self._refusal(error)
        if isinstance(error, apsw.Error):
            log.error("database_write_failed", reason=str(error), writes=len(batch))
        for write in batch:
            write.error = refusal

    def _refusal(self, error: Exception) -> Exception:
        match error:
            case apsw.BusyError() | apsw.LockedError():
                return DatabaseBusy()
            case apsw.FullError():
                return DatabaseFull()
            case apsw.ReadOnlyError():
                return StorageReadOnly()
            case apsw.IOError():
                if getattr(error, "extendedresult", 0) in _SYNC_FAILURES:
                    self._health.fail(f"fsync of the database failed: {error}")
                return StorageFailed()
            case apsw.ConstraintError():
                # a mistake of ours, not the disk's
                return error
            case apsw.Error():
                return StorageFailed()
            case _:
                return error
