"""The job worker as a process: beside `moorage serve`, or alone as `moorage worker`."""

import asyncio
import gc
import os
import signal
from contextlib import suppress

import structlog
import uvloop

from moorage import logs
from moorage.app import check_folder, open_worker
from moorage.config import Settings
from moorage.health import Health

_NICE = 10

log = structlog.get_logger()


async def work(settings: Settings, health: Health) -> None:
    """Run jobs until cancelled; what is then under way is queued again. For a process of its own."""
    with suppress(OSError):
        os.nice(_NICE)
    gc.freeze()
    async with open_worker(settings, health) as own:
        await own.run()


def work_alone(settings: Settings) -> int:
    """Run jobs on a data folder until SIGTERM or SIGINT, whether or not `serve` runs on it; the exit code.

    Raises StartRefused.
    """
    logs.configure(settings.log)
    os.umask(0o077)
    check_folder(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_stopped(settings))
    return 0


async def _until_stopped(settings: Settings) -> None:
    working = asyncio.create_task(work(settings, Health()))
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, working.cancel)
    log.info("job_worker_started", data=str(settings.storage.data))
    with suppress(asyncio.CancelledError):
        await working
    log.info("job_worker_stopped")
