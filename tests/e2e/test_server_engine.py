"""`--engine server`, from the command line, against a small real server of the embedded chat model."""

import os
import time
from pathlib import Path
from unittest import mock

import pytest
from commands import ENVIRONMENT, Ended, Running, call, fork
from completions_server import serve

from inward import organism
from inward.runs import RunFolder
from inward.types import TraceGroup

KEY = "sk-nobody-may-read-this"
SMALL = ["prompts.limit=40", "sampling.strategy=branch", "sampling.num_branches=3", "sampling.max_completion_tokens=12"]
SMALL += ["optim.num_epochs=1", "pairs.num_best=1", "model.device=cpu", "server.backoff_seconds=0.01"]
SMALL += ["server.concurrency=4", "server.retries=2", "server.api_key_env=INWARD_TEST_KEY"]
NUM_REQUESTS = 40 * (1 + 3)
STAGES = ("traces", "scored", "pairs", "checkpoint")


@pytest.fixture
def served():
    with serve(organism.path("chat"), key=KEY) as running:
        yield running


def words(command: list[str], out: Path, *urls: str, more: tuple[str, ...] = ()) -> list[str]:
    endpoints = [word for url in urls for word in ("--endpoint", url)]
    sets = [word for one in (*SMALL, *more) for word in ("--set", one)]
    fixed = ["--model", "embedded:chat", "--prompts", "embedded", "--engine", "server", "--out", str(out)]
    return [*command, *fixed, *endpoints, *sets]


def start(out: Path, url: str) -> Running:
    return fork(*words(["run", "rlsf"], out, url), env={**ENVIRONMENT, "INWARD_TEST_KEY": KEY})


def finish(out: Path, url: str) -> str:
    ended = start(out, url).wait()
    assert ended.code == 0, ended.err
    return ended.out + ended.err


def here(*args: str) -> Ended:
    with mock.patch.dict(os.environ, {"INWARD_TEST_KEY": KEY}), mock.patch.dict(ENVIRONMENT, {"INWARD_TEST_KEY": KEY}):
        return call(*args)


def artefacts(out: Path) -> dict[str, bytes]:
    files = [file for stage in STAGES for file in (out / stage).rglob("*") if file.is_file()]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


@pytest.mark.slow
def test_a_run_killed_while_it_samples_goes_on_repeats_nothing_and_ends_in_the_same_bytes(served, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    said = finish(whole, served.url)
    assert len(served.requests) == NUM_REQUESTS
    served.requests.clear()
    served.answered.clear()

    served.delay = 0.01
    before = start(out, served.url).strike(lambda: len(served.answered) >= 75)
    assert not (out / "traces" / "00000.parquet").exists()
    kept = len((out / "replies.jsonl").read_text(encoding="utf-8").splitlines())
    assert 75 - 4 <= kept <= 90
    served.delay = 0.0
    time.sleep(0.2)
    asked = len(served.requests)
    after = finish(out, served.url)

    # What was on disk when the kill came is not asked for again: only the four requests under way can be.
    assert len(served.requests) - asked == NUM_REQUESTS - kept
    assert asked - kept <= 4
    assert artefacts(out) == artefacts(whole)
    assert len(artefacts(out)) > 6
    assert not (out / "replies.jsonl").exists()
    for folder in (whole, out):
        assert not [file for file in folder.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]
    assert KEY not in said + before.out + before.err + after


def test_where_all_endpoints_fail_another_one_finishes_the_run(served, tmp_path):
    served.fault = lambda number, request: "500" if number >= 50 else None
    failed = here(*words(["sample"], tmp_path / "out", served.url))
    assert failed.code == 1
    assert f"{served.url}: HTTP 500" in failed.error and "run the same command again" in failed.error
    answered = len(served.answered)
    other_work = here(*words(["sample"], tmp_path / "out", served.url, more=("server.rescore=true",)))
    assert "settings.server.rescore: this folder has false, asked for true" in other_work.error

    with serve(organism.path("chat"), key=KEY) as other:
        done = here(*words(["sample"], tmp_path / "out", other.url))
        assert done.code == 0, done.err
        assert answered + len(other.answered) == NUM_REQUESTS
    groups = RunFolder.read(tmp_path / "out").records("traces", TraceGroup)
    assert [len(group.traces) for group in groups] == [3] * 40


def test_stage_by_stage_with_a_measure_that_is_computed_here(served, tmp_path):
    out = tmp_path / "out"
    more = ("server.rescore=true", "confidence=self_certainty", "prompts.limit=4")
    sampled = here(*words(["sample"], out, served.url, more=more))
    assert sampled.code == 0, sampled.err
    assert [here(stage, str(out)).code for stage in ("score", "rank")] == [0, 0]

    assert len(served.requests) == 4 * (1 + 3)
    assert (out / "pairs" / "complete.json").exists()


@pytest.mark.parametrize("confidence", ["self_certainty", "neg_entropy"])
def test_a_measure_of_the_full_distribution_is_refused_before_any_request(served, tmp_path, confidence):
    refused = here(*words(["run", "rlsf"], tmp_path / "out", served.url, more=(f"confidence={confidence}",)))

    assert refused.code == 1 and "server.rescore=true" in refused.error
    assert not served.requests and not (tmp_path / "out").exists()


def test_a_wrong_key_and_a_key_in_the_address_are_refused_without_being_shown(served, tmp_path):
    served.key = "another"
    refused = here(*words(["run", "rlsf"], tmp_path / "out", served.url))
    in_url = here(*words(["run", "rlsf"], tmp_path / "out", served.url.replace("://", f"://me:{KEY}@")))

    assert "HTTP 401" in refused.error and "server.api_key_env" in refused.error
    assert "environment variable" in in_url.error
    assert KEY not in refused.err + refused.out + in_url.err + in_url.out
    assert len(served.requests) <= 4


def test_a_dry_run_counts_the_requests_and_sends_none(served, tmp_path):
    said = here(*words(["run", "rlsf"], tmp_path / "out", served.url), "--dry-run")

    assert "requests to 1 endpoint, 4 at once to each: 120 + 40 for first tokens" in said.out
    assert not served.requests


def test_the_engine_is_one_of_rlsf(tmp_path):
    for method in ("rlif", "rlsc"):
        ended = here(*words(["run", method], tmp_path / "out", "http://127.0.0.1:9/v1"))
        assert ended.code == 1 and f"options of rlsf, not of {method}" in ended.error
