"""What of `--engine ray` needs no cluster: the actor's work, its errors and warnings, settings, shards in any order."""

import dataclasses
import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pyarrow as pa
import pytest
import torch

from inward import __version__, models
from inward.answers import AnswerSettings
from inward.errors import DataError, InwardError, ModelError, RunFolderError, SettingsError
from inward.methods import rlsf
from inward.models import ModelSettings
from inward.runs import RunFolder
from inward.runs.identity import identity
from inward.sample import RaySettings, SamplingSettings, Work, check_ray, sample
from inward.sample import ray as engine
from inward.types import Artifact, Choice, Manifest, Prompt, TraceGroup

CPU = ModelSettings(device="cpu")
PROMPTS = [Prompt(id=f"q{i}", text=text) for i, text in enumerate(["Q:1+2?\nA:", "Q:9-4*7+2?\nA:", "step 3"])]
DRAWN = SamplingSettings(strategy="both", group_size=3, num_branches=2, max_completion_tokens=8)
NEVER = AnswerSettings(kind="number", elicit="never")


@pytest.fixture(scope="module")
def policy(tiny_model: Path):
    return models.load(tiny_model, CPU, name="tiny")


@pytest.fixture
def work(tiny_model: Path, policy) -> Work:
    params = DRAWN.params(policy, 7)
    return Work(path=tiny_model, name="tiny", model=CPU, params=params, batch_rows=4, memory_gib=None, answer=NEVER)


def made(work: Work, prompts=PROMPTS, version=__version__) -> engine._Made:
    """What an actor sends back, by way of the bytes in which it travels."""
    actor = engine._Sampler(work, torch.get_num_threads(), version)
    table = actor(engine._table([(5, pickle.dumps(prompts))]))
    assert table["shard"].to_pylist() == [5]
    return pickle.loads(table["content"][0].as_py())


def test_an_actor_writes_the_groups_of_the_local_engine_and_loads_the_model_once(work, policy, monkeypatch):
    expected = list(sample(PROMPTS, policy, work.params, batch_rows=4, answer=NEVER))
    load = Mock(side_effect=models.load)
    monkeypatch.setattr(engine.models, "load", load)
    actor = engine._Sampler(work, torch.get_num_threads(), __version__)
    tables = [actor(engine._table([(i, pickle.dumps(PROMPTS))])) for i in (0, 1)]

    assert [pickle.loads(table["content"][0].as_py()).groups for table in tables] == [expected] * 2
    assert expected[0].traces[0].policy == "tiny"
    assert load.call_count == 1


def test_what_an_actor_refuses_comes_back_as_the_error_it_is(work, tmp_path: Path):
    long = made(work, [Prompt(id="long", text="1" * 70)]).groups
    assert isinstance(long, DataError) and "long (1 in all)" in str(long)
    gone = made(dataclasses.replace(work, path=tmp_path / "gone")).groups
    assert isinstance(gone, ModelError) and "at the same place on every machine" in str(gone)
    other = made(work, version="0.0.1").groups
    assert isinstance(other, SettingsError) and f"inward is {__version__} on " in str(other)


def test_warnings_of_an_actor_come_back_and_are_given_here(work):
    one = made(dataclasses.replace(work, params=dataclasses.replace(work.params, max_completion_tokens=60)))
    assert len(one.warned) == 1 and one.warned[0].startswith("some prompts leave less than max_completion_tokens = 60")

    with pytest.warns(UserWarning, match="some prompts leave less"):
        assert list(engine._results(dataset(one), 1)) == [(0, one.groups)]


def dataset(*shards: engine._Made):
    tables = [engine._table([(number, pickle.dumps(one))]) for number, one in enumerate(shards)]
    return SimpleNamespace(iter_batches=lambda **_: iter(tables))


def test_an_error_of_an_actor_ends_the_sampling_and_a_further_process_is_told_of():
    here = engine._Made(groups=[], warned=[], place=("a", 1))
    there = dataclasses.replace(here, place=("b", 1))
    again = dataclasses.replace(here, place=("b", 2))
    with warnings.catch_warnings(record=True) as told:
        assert [number for number, _ in engine._results(dataset(here, there, here), 2)] == [0, 1, 2]
    assert not told
    with pytest.warns(UserWarning, match="an actor of Ray died"):
        list(engine._results(dataset(here, there, again), 2))
    broken = dataclasses.replace(here, groups=ModelError("not finite"))
    with pytest.raises(ModelError, match="not finite"):
        list(engine._results(dataset(here, broken), 2))


@pytest.mark.parametrize(
    ("device", "total", "free", "asked", "expected"),
    [
        ("cpu", {"CPU": 8, "GPU": 2}, {"CPU": 5}, None, (5, {"num_cpus": 1})),
        ("auto", {"CPU": 8}, {"CPU": 8}, None, (7, {"num_cpus": 1})),
        ("auto", {"CPU": 8, "GPU": 2}, {"CPU": 8, "GPU": 2}, None, (2, {"num_gpus": 1, "num_cpus": 0})),
        ("cuda", {"CPU": 8, "GPU": 4}, {"GPU": 3.5}, None, (3, {"num_gpus": 1, "num_cpus": 0})),
        ("cuda", {"CPU": 8}, {"CPU": 8}, 4, (4, {"num_gpus": 1, "num_cpus": 0})),
        ("cpu", {"CPU": 8}, {}, 3, (3, {"num_cpus": 1})),
        ("cuda", {"CPU": 8}, {"CPU": 8}, None, "0 GPU in all and 0 free, and an actor takes 1"),
        ("cpu", {"CPU": 8}, {"CPU": 0.5}, None, "8 CPU in all and 0.5 free, .+ or lower OMP_NUM_THREADS"),
    ],
)
def test_an_actor_for_each_free_device_and_no_more_than_shards(work, monkeypatch, device, total, free, asked, expected):
    """Seven shards; a torch of one thread."""
    fake = SimpleNamespace(cluster_resources=lambda: total, available_resources=lambda: free)
    monkeypatch.setitem(__import__("sys").modules, "ray", fake)
    monkeypatch.setattr(engine, "HELD_SECONDS", 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    own = dataclasses.replace(work, model=dataclasses.replace(CPU, device=device))
    if isinstance(expected, str):
        with pytest.raises(InwardError, match=expected):
            engine._actors(RaySettings(actors=asked), own, 7)
    else:
        assert engine._actors(RaySettings(actors=asked), own, 7) == expected


def test_devices_that_a_killed_run_still_holds_are_waited_for(work, monkeypatch):
    left = iter([{}, {"CPU": 0.0}, {"CPU": 2.0}])
    fake = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0}, available_resources=lambda: next(left))
    monkeypatch.setitem(__import__("sys").modules, "ray", fake)
    monkeypatch.setattr(engine.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)

    assert engine._actors(RaySettings(), work, 7)[0] == 2


def test_where_ray_is_missing_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'inward\[ray\]'"):
        check_ray(CPU)


def test_one_device_of_several_is_refused(monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: object())
    check_ray(ModelSettings(device="cpu"))
    with pytest.raises(SettingsError, match="Ray gives each actor a device"):
        check_ray(dataclasses.replace(CPU, device="cpu:0"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"engine": "ray", "ray": {"actors": 0}}, "actors must be at least 1"),
        ({"engine": "ray", "ray": {"address": "ray://a:10001"}}, "HOST:PORT or auto"),
        ({"engine": "ray", "ray": {"address": " "}}, "HOST:PORT or auto"),
        ({"engine": "local", "ray": {"actors": 2}}, "do nothing with engine=local"),
        ({"engine": "ray", "baseline": "greedy"}, "engine=ray does nothing with baseline=greedy"),
    ],
)
def test_settings_that_do_nothing_or_cannot_be_are_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        rlsf.Settings(**{**given, "ray": RaySettings(**given.get("ray", {}))})


def test_several_processes_divide_the_prompts_without_ray(monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: object())
    rlsf.check_engine(rlsf.Settings(engine="ray"))
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(SettingsError, match="engine=ray in 4 processes"):
        rlsf.check_engine(rlsf.Settings(engine="ray"))


MANIFEST = Manifest(
    inward=__version__,
    method="rlsf",
    settings={"engine": "ray", "ray": {"address": "auto", "actors": 2}, "rounds": 1},
    recipe="defaults",
    seed=0,
    start=Artifact(name="m", sha256="1"),
    data=None,
    evaluation=None,
    labels_used=False,
    versions={},
    hardware={},
    created="2025-01-01T00:00:00Z",
)


def test_a_run_goes_on_with_or_without_ray_but_not_with_a_server():
    local = dataclasses.replace(MANIFEST, settings={"engine": "local", "rounds": 1})
    assert identity(MANIFEST) == identity(local)
    assert identity(MANIFEST) != identity(dataclasses.replace(MANIFEST, settings={"engine": "server", "rounds": 1}))


def gather(out: Path, make) -> list[str]:
    with RunFolder.open(out, MANIFEST) as folder:
        return [one.label for one in folder.gather("toy", "abcdefgh", make, Choice, shard_size=3)]


def test_shards_are_written_as_they_come_and_only_missing_ones_are_asked_for(tmp_path: Path):
    asked, closed = [], []

    def make(missing, order, stop=False):
        asked.append(dict(missing))
        try:
            for number in order:
                yield number, [Choice(label=letter, text=letter) for letter in missing[number]]
            if stop:
                raise KeyError("killed")
        finally:
            closed.append(True)

    with pytest.raises(KeyError, match="killed"):
        gather(tmp_path / "run", lambda missing: make(missing, [2, 0], stop=True))
    assert sorted(path.name for path in (tmp_path / "run/toy").iterdir()) == ["00000.parquet", "00002.parquet"]
    assert gather(tmp_path / "run", lambda missing: make(missing, [1])) == [*"abcdefgh"]
    assert asked == [{0: "abc", 1: "def", 2: "gh"}, {1: "def"}]
    assert gather(tmp_path / "run", lambda missing: make(missing, [])) == [*"abcdefgh"]
    assert len(asked) == 2

    def in_turn(folder):
        return folder.map("toy", "abcdefgh", lambda part: [Choice(label=c, text=c) for c in part], Choice, shard_size=3)

    with RunFolder.open(tmp_path / "map", MANIFEST) as folder:
        in_turn(folder)
    names = [path.name for path in (tmp_path / "map/toy").iterdir()]
    assert all((tmp_path / "map/toy" / n).read_bytes() == (tmp_path / "run/toy" / n).read_bytes() for n in names)


def test_what_makes_shards_is_closed_where_one_cannot_be_written(tmp_path: Path):
    closed = []

    def make(missing):
        try:
            yield 0, [Choice(label="\ud800", text="no Unicode")]
            yield 1, []
        finally:
            closed.append(True)

    with pytest.raises(DataError):
        gather(tmp_path / "run", make)
    assert closed
    (tmp_path / "run/toy/00000.parquet").write_bytes(b"damaged")
    with pytest.raises(RunFolderError, match="is damaged"):
        gather(tmp_path / "run", make)
    assert len(closed) == 1


def test_a_table_keeps_the_bytes_that_it_is_given():
    content = bytes(range(256)) + b"\0\0"
    table = engine._table([(3, content)])
    assert table.schema.field("content").type == pa.large_binary()
    assert table["content"][0].as_py() == content


def test_groups_come_back_as_records(work):
    groups = made(work).groups
    assert isinstance(groups, list) and all(isinstance(group, TraceGroup) for group in groups)
