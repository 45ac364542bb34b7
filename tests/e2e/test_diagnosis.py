"""`inward diagnose` as a process of its own, on run folders that no training made."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import call
from synthetic import manifest

from inward.runs import RunFolder

HEALTHY: dict[str, Any] = {"entropy": 1.0, "length": 20.0, "answer_rate": 1.0, "agreement": 0.5, "reward_std": 1.0}
COLLAPSED = HEALTHY | {"length": 90.0, "entropy": 0.01}
RISE_AND_FALL = ((0, (0.25, 0.5)), (10, (0.5, 0.75)), (20, (0.25, 0.5)))


def trained(
    path: Path,
    monitors: Sequence[dict[str, Any]] = (),
    probes: Sequence[tuple[int, Sequence[float]]] = (),
    *,
    settings: dict[str, object] | None = None,
    **end: int,
) -> Path:
    """A folder whose log holds monitors, probes and, where `end` says how, the end of a training."""
    with RunFolder.open(path, manifest(method="rlif", settings=settings or {})) as folder:
        for step, row in enumerate(monitors):
            folder.log("monitor", step=step, **row, transitional_words={"words": 0})
        for step, support in probes:
            folder.log("probe", step=step, support=support, entropy=1.0)
        if end:
            folder.log("trained", **end)
    return path


@pytest.fixture(scope="module")
def drifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diagnose") / "drifted"
    return trained(folder, [HEALTHY, COLLAPSED], RISE_AND_FALL, steps=20, kept_step=10)


def test_words_say_what_was_kept_and_what_went_wrong(drifted: Path):
    ended = call("diagnose", drifted)

    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[:4] == [
        "support by the start model's votes (training prompts):",
        "  step     0  0.375",
        "  step    10  0.625 <- kept",
        "  step    20  0.375",
    ]
    assert lines[4].startswith("stop: step 20: at step 20 the start model's votes support the answers less")
    said = [line.split(": ")[:2] for line in lines[5:] if not line.startswith(" ")]
    assert said == [["alarm", "drift"], ["alarm", "length_growth"], ["warning", "entropy_collapse"]]
    assert "keep the checkpoint of step 10" in ended.out


def test_json_is_what_summaries_hold_and_the_curve_of_support(drifted: Path):
    ended = call("diagnose", drifted, "--json")

    assert (ended.code, ended.err) == (0, "")
    said = json.loads(ended.out)
    assert list(said) == ["kept_step", "stop_step", "stop_reason", "findings", "support_of", "support"]
    assert said["support_of"] == "training prompts"
    assert [(one["step"], one["support"]) for one in said["support"]] == [(0, 0.375), (10, 0.625), (20, 0.375)]
    assert {one["prompts"] for one in said["support"]} == {2}
    assert (said["kept_step"], said["stop_step"]) == (10, 20)
    assert [finding["name"] for finding in said["findings"]] == ["drift", "length_growth", "entropy_collapse"]
    assert all(list(finding) == ["name", "severity", "evidence", "advice"] for finding in said["findings"])


def test_looking_changes_nothing(drifted: Path):
    files = {path: path.stat().st_mtime_ns for path in drifted.rglob("*")}

    assert "drift" in call("diagnose", drifted).out
    assert {path: path.stat().st_mtime_ns for path in drifted.rglob("*")} == files


def test_a_training_without_anything_unusual(tmp_path: Path):
    ended = call("diagnose", trained(tmp_path / "a", [HEALTHY] * 4, RISE_AND_FALL[:2], steps=10, kept_step=10))

    assert ended.code == 0
    assert ended.out.splitlines()[2:] == [
        "  step    10  0.625 <- kept",
        "stop: no: support has not fallen clearly below its best, 0.625 at step 10",
        "nothing unusual",
    ]


def test_of_a_training_under_way_it_says_what_the_rule_would_keep(tmp_path: Path):
    said = json.loads(call("diagnose", trained(tmp_path / "a", probes=RISE_AND_FALL[:2]), "--json").out)

    assert (said["kept_step"], said["stop_step"], said["findings"]) == (10, None, [])


def test_what_the_run_kept_goes_before_what_the_rule_says(tmp_path: Path):
    folder = trained(tmp_path / "a", probes=RISE_AND_FALL, settings={"stop": None}, steps=20, kept_step=20)
    said = json.loads(call("diagnose", folder, "--json").out)

    assert (said["kept_step"], said["stop_step"], said["stop_reason"]) == (20, None, None)


def test_the_stop_settings_of_the_run_are_used(tmp_path: Path):
    # 0 and -0.25: -0.125 with a standard error of 0.125
    falling = [(0, (0.5, 0.5)), (10, (0.5, 0.25))]
    outs = [
        call("diagnose", trained(tmp_path / name, probes=falling, settings={"stop": {"fall": fall}})).out
        for name, fall in (("a", 0.9), ("b", 1.1))
    ]

    assert "alarm: drift" in outs[0] and "warning: no_gain" not in outs[0]
    assert "alarm: drift" not in outs[1] and "warning: no_gain" in outs[1]


def test_a_method_that_keeps_one_checkpoint_alone_has_none_to_choose(tmp_path: Path):
    folder = trained(tmp_path / "a", [HEALTHY, COLLAPSED], steps=20)
    said = json.loads(call("diagnose", folder, "--json").out)

    assert (said["kept_step"], said["stop_step"], said["stop_reason"]) == (None, None, None)
    assert [finding["name"] for finding in said["findings"]] == ["length_growth", "entropy_collapse"]
    assert "stop:" not in call("diagnose", folder).out


def test_a_folder_with_nothing_to_compare_is_an_error_that_says_what_to_run(tmp_path: Path):
    folder = trained(tmp_path / "a", [HEALTHY], RISE_AND_FALL[:1])
    ended = call("diagnose", folder)

    assert (ended.code, ended.out) == (1, "")
    assert ended.error.startswith(f"{folder} shows nothing to compare")


def test_a_folder_of_something_else_is_an_error(tmp_path: Path):
    ended = call("diagnose", tmp_path)

    assert ended.code == 1
    assert ended.error == f"{tmp_path} is no run folder: it has no manifest.json; check the path"
