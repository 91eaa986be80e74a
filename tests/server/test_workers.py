"""A worker process hears what it is told, however early."""

import asyncio
import multiprocessing
import os
import signal
import socket

import uvloop

from moorage.server.workers import Workers

HEARD_S = 30


def _be_a_worker_that_is_stopped_at_once() -> None:
    """Be one, with its signals held back as they are after a fork, and one waiting."""

    def new_loop() -> asyncio.AbstractEventLoop:
        os.kill(os.getpid(), signal.SIGTERM)
        return uvloop.new_event_loop()

    async def serve(_: int, __: socket.socket) -> None:
        await asyncio.sleep(10 * HEARD_S)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
    with socket.socket() as own:
        Workers([own], serve, new_loop, 0, print, lambda: None)._serve(0)


def test_a_worker_that_is_told_to_stop_before_its_first_round_stops() -> None:
    worker = multiprocessing.get_context("spawn").Process(target=_be_a_worker_that_is_stopped_at_once)
    worker.start()
    worker.join(HEARD_S)
    code = worker.exitcode
    worker.kill()
    worker.join()
    worker.close()

    assert code == 0
