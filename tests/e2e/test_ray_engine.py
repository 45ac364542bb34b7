"""`--engine ray`, from the command line, on real local clusters: the bytes of the local engine, whoever is killed."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import ENVIRONMENT, call, fork

pytest.importorskip("ray", reason="Ray is not installed; pip install 'inward[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # Ray copies its own settings

ACTOR = "ray::MapWorker"
SMALL = ["prompts.limit=256", "sampling.strategy=both", "sampling.group_size=3", "sampling.num_branches=2"]
SMALL += ["sampling.max_completion_tokens=24", "model.device=cpu"]
NUM_SHARDS = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster that was there before the run, of two cores."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default, with which actors starve beside other tests
        running = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by the local engine."""
    out = tmp_path_factory.mktemp("local") / "run"
    ended = call(*words(out, "local"))
    assert ended.code == 0, ended.err
    return out


def words(out: Path, engine: str, *more: str) -> list[str]:
    fixed = ["sample", "--model", "embedded:chat", "--prompts", "embedded", "--engine", engine, "--out", str(out)]
    return [*fixed, *(word for one in (*SMALL, *more) for word in ("--set", one))]


def shards(out: Path) -> list[Path]:
    return sorted((out / "traces").glob("[0-9]*.parquet"))


def traces(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (out / "traces").iterdir()}


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def actors(above: psutil.Process) -> list[psutil.Process]:
    return [one for one in above.children(recursive=True) if one.name().startswith(ACTOR)]


@pytest.mark.slow
def test_a_run_killed_with_its_ray_goes_on_in_a_cluster_that_loses_an_actor_and_no_byte_differs(
    cluster: Any, local: Path, tmp_path: Path
):
    out = tmp_path / "run"
    running = fork(*words(out, "ray", "ray.actors=1"), env={**ENVIRONMENT, "RAY_worker_niceness": "0"})
    wait_for(lambda: len(shards(out)) > 1 or not running.process.is_alive(), 300)
    own = actors(psutil.Process(running.pid))
    ended = running.strike(lambda: True)
    said = ended.out + ended.err
    kept = {file: file.stat().st_mtime_ns for file in shards(out)}
    assert own and 1 < len(kept) < NUM_SHARDS - 2, said
    assert len(said.splitlines()) <= 1, said  # of ours: Ray itself says nothing
    wait_for(lambda: not any(one.is_running() for one in own), 30)
    killed = list[int]()

    def kill() -> None:
        wait_for(lambda: len(shards(out)) > len(kept), 300)
        killed.extend(one.pid for one in actors(psutil.Process())[:1])
        psutil.Process(killed[0]).kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    # One actor, so that it has given shards when it is killed and the next one is seen to be another.
    ended = call(*words(out, "ray", f"ray.address={cluster.address}", "ray.actors=1"))
    killer.join()

    assert ended.code == 0, ended.err
    assert killed and "an actor of Ray died, and another took over its prompts" in ended.err
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert traces(out) == traces(local)
    assert len(traces(out)) == NUM_SHARDS + 1


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path):
    ended = call(*words(tmp_path / "run", "ray", "ray.address=127.0.0.1:1"))

    assert ended.code == 1
    assert "no Ray cluster at 127.0.0.1:1" in ended.error and "engine=local" in ended.error
