"""What a crash may leave: each file-system call of a push, a deletion and more is killed, filled and failed.

    python -m tests.crash [CASE ...]

`sweep` runs a case once for each of its calls and lets strace kill the process there (SIGKILL) or make
the call fail (ENOSPC, EIO, EMFILE); `checking` then opens what is left, as a restart would, and says what
is wrong with it. A kill leaves the page cache as it is, so it cannot show a missing fsync: `linting` reads
the record of calls for that, and `power` replays the record without what was not synced.

The calls are those of the real server's code, from the ASGI application down to SQLite; `planted` holds
variants of it that are wrong on purpose, and a suite that does not find them fails.
"""
