"""RLSC in two processes: the same samples, metrics and weights as in one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("two_processes_rlsc.py")


@pytest.fixture(scope="module", params=["rlsc", "entropy_token_mean"])
def both(request, tiny_model, tmp_path_factory):
    """Folder and reports of the one process, and of the two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    done = []
    for words in ([], launch):
        folder = tmp_path_factory.mktemp("processes")
        ended = subprocess.run(
            [sys.executable, *words, str(SCRIPT), str(tiny_model), str(folder), request.param],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr[-3000:]
        done.append((folder, [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]))
    return done


def test_samples_are_keyed_by_their_prompt(both):
    (_, (one,)), (_, two) = both
    assert len(two) == 2
    assert one["drawn"] == [first + second for first, second in zip(*(each["drawn"] for each in two), strict=True)]
    assert all(len(share) == 2 for each in two for share in each["drawn"])


def test_metrics_are_over_the_samples_of_all_processes(both):
    (_, (one,)), (_, two) = both
    assert two[0]["logs"] == two[1]["logs"]
    for alone, together in zip(one["logs"], two[0]["logs"], strict=True):
        assert together == pytest.approx(alone, rel=1e-4)


def test_two_processes_end_in_the_weights_of_one(both, tiny_model):
    (alone, _), (together, _) = both
    start, last = load_file(tiny_model / "model.safetensors"), load_file(alone / "step-4/model.safetensors")
    for step in (2, 4):
        weights = [load_file(folder / f"step-{step}/model.safetensors") for folder in (alone, together)]
        for name, value in weights[0].items():
            torch.testing.assert_close(weights[1][name], value, atol=1e-6, rtol=0)
    assert max(float((last[name] - start[name]).abs().max()) for name in start) > 1e-3


def test_one_process_keeps_the_checkpoints_and_ends_both(both):
    (_, (one,)), (_, two) = both
    assert [each["told"] for each in (one, *two)] == [[2, 4], [2, 4], []]
    assert [each["steps"] for each in (one, *two)] == [4, 4, 4]
