"""Start a script or a module in two processes, as `torchrun` does, or by it."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from commands import Ended, Running, fork

SIZE = 2


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def torchrun(*words: str | Path) -> list[str]:
    """The command line of two processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={SIZE}", f"--master_port={free_port()}"]
    return [*launch, *map(str, words)]


def begin(*words: str | Path, env: Mapping[str, str] | None = None) -> list[Running]:
    """Two processes with the environment that `torchrun` gives its own, forked, which spares them their imports."""
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(SIZE)}
    places["LOCAL_WORLD_SIZE"] = str(SIZE)
    return [
        fork(*words, env={**environment(env), **places, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(SIZE)
    ]


def launch(*words: str | Path, env: Mapping[str, str] | None = None) -> list[Ended]:
    """Run two to their ends."""
    started = begin(*words, env=env)
    try:
        ended = [one.wait(300) for one in started]
    finally:
        for one in started:
            one.process.kill()
    assert not any(one.code for one in ended), [one.err[-3000:] for one in ended]
    return ended


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the processes are to find."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **(more or {})}
