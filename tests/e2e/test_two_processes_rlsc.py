"""RLSC in two processes: the same samples, metrics and weights as in one."""

import json
from pathlib import Path

import pytest
import torch
import two_processes_rlsc
from launching import launch
from safetensors.torch import load_file

SCRIPT = Path(two_processes_rlsc.__file__)
LOSSES = ("rlsc", "entropy_token_mean")


@pytest.fixture(scope="module")
def runs(tiny_model, tmp_path_factory):
    """Folders of this process alone, and of two, with one for each loss in them."""
    alone, together = (tmp_path_factory.mktemp(name) for name in ("alone", "together"))
    for loss in LOSSES:
        two_processes_rlsc.main(tiny_model, alone / loss, loss)
    launch(SCRIPT, tiny_model, together, *LOSSES)
    return alone, together


@pytest.fixture(params=LOSSES)
def both(request, runs):
    """Folder and reports of the one process, and of the two."""
    folders = [folder / request.param for folder in runs]
    return [(here, [json.loads(path.read_text()) for path in sorted(here.glob("*.json"))]) for here in folders]


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
