"""A program that has imported all of Moorage, and forks each command that tests/starting.py asks for.

It ends when the other end of its socket is closed.
"""

import gc
import json
import os
import socket
import sys
import time
from typing import Any

import moorage.serving
import moorage.upstream.client
from moorage.cli.main import main
from tests.starting import LENGTH, read_exactly

# what a command imports only once it needs it
IMPORTED = (moorage.serving, moorage.upstream.client)


def serve(line: socket.socket) -> None:
    """Fork what is asked for until no one is there to ask; in each child, run it."""
    gc.collect()
    gc.freeze()
    while (received := _receive(line)) is not None:
        asked, streams = received
        child = _fork_for_the_other_end()
        if child is None:
            line.close()
            _become(asked, streams)
            main()
        line.sendall(LENGTH.pack(child))
        for each in streams:
            os.close(each)


def _receive(line: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What is asked for and its three streams; None when no one is there to ask."""
    head, streams, _, _ = socket.recv_fds(line, LENGTH.size, 3)
    if not head:
        return None
    head += read_exactly(line, LENGTH.size - len(head))
    return json.loads(read_exactly(line, LENGTH.unpack(head)[0])), streams


def _fork_for_the_other_end() -> int | None:
    """The id of a process whose parent has ended; None in that process."""
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        child = os.fork()
        if child:
            os.write(writer, LENGTH.pack(child))
            os._exit(0)
        os.close(reader)
        os.close(writer)
        return None
    os.waitpid(between, 0)
    child = int(LENGTH.unpack(os.read(reader, LENGTH.size))[0])
    os.close(reader)
    os.close(writer)
    return child


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """Take the environment, the folder and the streams that were asked for."""
    if asked["is_leader"]:
        os.setsid()
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["folder"])
    time.tzset()
    sys.argv = ["moorage", *asked["arguments"]]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
