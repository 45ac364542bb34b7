"""`inward probe` on the embedded models: what it writes and says, and that gold answers change nothing of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import call, fork, forked, write_lines

from inward.runs import RunFolder
from inward.tasks import arithmetic
from inward.types import ScoredGroup, TraceGroup

SMALL = ("--set", "probe.num_samples=8", "--set", "prompts.limit=40", "--seed", "5")
KEYS = [
    *("method", "model", "prompts", "labels_used", "seed", "recipe", "num_prompts", "num_samples", "temperature"),
    *(
        "max_completion_tokens",
        "features",
        "agreement_spread",
        "prompting",
        "outlooks",
        "advice",
        "seconds",
        "warnings",
    ),
]


def words(model: str, out: Path, prompts: str | Path = "embedded") -> list[str]:
    return ["probe", "--model", model, "--prompts", str(prompts), "--out", str(out), *SMALL]


@pytest.fixture(scope="module")
def based(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("probe") / "base"
    ended = forked(*words("embedded:base", out), "--json")
    assert ended.code == 0, ended.err
    return out, json.loads(ended.out)


def test_json_is_what_the_folder_keeps(based: tuple[Path, dict[str, Any]]):
    out, found = based

    assert list(found) == KEYS
    assert found == json.loads((out / "probe.json").read_text(encoding="utf-8"))
    assert found["labels_used"] is False and (found["num_prompts"], found["num_samples"]) == (40, 8)
    assert [(one["method"], one["reward"]) for one in found["outlooks"]] == [
        ("rlsf", None), ("rlif", "self_certainty"), ("rlif", "neg_entropy"), ("rlif", "mean_logprob"),
        ("rlif", "sequence_probability"), ("rlif", "answer_disparity"), ("rlif", "majority_vote"),
        ("rlif", "soft_vote"), ("rlsc", None),
    ]  # fmt: skip
    assert all(set(one) == {"value", "low", "high", "n"} for one in found["features"].values())
    assert all(one["reasons"] and one["risks"] for one in found["outlooks"])
    assert len(RunFolder.read(out).records("traces", TraceGroup)) == 40
    assert {len(one.traces) for one in RunFolder.read(out).records("scored", ScoredGroup)} == {9}


def test_the_page_has_every_method_and_its_reasons(based: tuple[Path, dict[str, Any]]):
    out, found = based
    page = (out / "report.html").read_text(encoding="utf-8")

    assert "What to expect of each method" in page and page.count('class="card"') == 9
    assert found["outlooks"][-1]["reasons"][0].partition(" [")[0] in page
    (out / "report.html").unlink()
    assert call("report", out).code == 0
    assert (out / "report.html").read_text(encoding="utf-8") == page


SHORT = {
    "rlsf": ("pairs.max_pairs=16", "optim.num_epochs=1", "prompts.limit=8"),
    "rlif": ("optim.steps=1", "optim.prompts_per_step=4", "optim.group_size=2", "optim.batch_rows=8", "stop.prompts=4"),
}
SHORT["rlsc"] = SHORT["rlif"]


def test_the_recipe_runs_as_the_command_says(tmp_path: Path):
    enough = ("--set", "probe.num_samples=16", "--set", "prompts.limit=96")
    ended = call(*words("embedded:chat", tmp_path / "out"), *enough)
    assert ended.code == 0, ended.err
    said = json.loads((tmp_path / "out/probe.json").read_text(encoding="utf-8"))["advice"]

    assert said["verdict"] == "try" and said["recipe"] == "recipe.yaml"
    assert said["command"] in ended.out
    name, method, *command, _ = said["command"].removeprefix("inward ").split()
    assert [name, method] == ["run", said["method"]]
    small = [word for setting in SHORT[method] for word in ("--set", setting)]
    ended = call(name, method, *command, tmp_path / "run", *small)
    assert ended.code == 0, ended.err
    assert (tmp_path / "run/checkpoint/model.safetensors").exists()


def test_a_model_that_agrees_with_itself_is_told_not_to(tmp_path: Path):
    ended = call(*words("embedded:instruct", tmp_path / "out"))

    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out/probe.json").read_text(encoding="utf-8"))
    assert found["features"]["entropy"]["value"] < 0.1
    assert {one["verdict"] for one in [*found["outlooks"], found["advice"]]} == {"do not"}
    assert found["advice"]["recipe"] is None and not (tmp_path / "out/recipe.yaml").exists()
    assert "do not: here is why" in ended.out and "its entropy is low" in ended.out


def test_gold_answers_change_no_byte(tmp_path: Path):
    problems = arithmetic.problems(16, seed=3)
    rows = [{"id": one.prompt.id, "prompt": str(one.prompt.text), "answer": one.answer} for one in problems]
    cases = {
        "right": rows,
        "wrong": [{**row, "answer": rows[i - 3]["answer"]} for i, row in enumerate(rows)],
        "none": [{"id": row["id"], "prompt": row["prompt"]} for row in rows],
    }
    made: list[dict[str, bytes]] = []
    for name, asked in cases.items():
        file = write_lines(tmp_path / name / "prompts.jsonl", asked) if (tmp_path / name).mkdir() is None else None
        ended = call(*words("embedded:chat", tmp_path / name / "out", file or ""))
        assert ended.code == 0, ended.err
        made.append(whole(tmp_path / name))
    assert made[0] == made[1] == made[2]
    assert {"probe.json", "traces/00000.parquet", "scored/00000.parquet"} <= set(made[0])


def whole(case: Path) -> dict[str, bytes]:
    """Every file of a probe but logs and manifests, without names of files and seconds."""
    files: dict[str, bytes] = {}
    for file in (case / "out").rglob("*"):
        name = str(file.relative_to(case / "out"))
        if file.is_file() and name not in ("log.jsonl", "lock", "manifest.json", "report.html"):
            files[name] = file.read_bytes().replace(str(case).encode(), b"")
    found = json.loads(files.pop("probe.json"))
    files["probe.json"] = json.dumps({key: one for key, one in found.items() if key != "seconds"}).encode()
    return files


def test_a_dry_run_says_the_work_and_writes_nothing(tmp_path: Path):
    ended = call(*words("embedded:base", tmp_path / "out"), "--dry-run")

    assert ended.code == 0, ended.err
    assert "traces: 40 prompts * 9 = 360" in ended.err
    assert not (tmp_path / "out").exists()


def test_without_out_the_folder_is_named_after_model_and_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    few = ("--set", "prompts.limit=4", "--set", "probe.num_samples=4")
    ended = call("probe", "--model", "embedded:base", "--prompts", "embedded", *few)

    assert ended.code == 0, ended.err
    assert (tmp_path / "inward-probe/embedded-base--embedded/probe.json").exists()
    found = json.loads((tmp_path / "inward-probe/embedded-base--embedded/probe.json").read_text(encoding="utf-8"))
    assert {one["verdict"] for one in found["outlooks"] if one["method"] == "rlsf"} == {"no evidence"}
    assert found["advice"]["verdict"] != "try"


def test_a_killed_probe_goes_on_and_ends_the_same(based: tuple[Path, dict[str, Any]], tmp_path: Path):
    out, found = based
    arguments = words("embedded:base", tmp_path / "out")
    fork(*arguments).strike((tmp_path / "out/traces/00000.parquet").exists)
    assert not (tmp_path / "out/probe.json").exists()

    ended = call(*arguments)
    assert ended.code == 0, ended.err
    again = json.loads((tmp_path / "out/probe.json").read_text(encoding="utf-8"))
    assert {key: again[key] for key in ("features", "outlooks")} == {
        key: found[key] for key in ("features", "outlooks")
    }
    for stage in ("traces", "scored"):
        for shard in (out / stage).glob("*.parquet"):
            assert (tmp_path / "out" / stage / shard.name).read_bytes() == shard.read_bytes()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("probe.num_samples=3", "num_samples must be at least 4"),
        ("probe.num_prompts=1", "num_prompts must be at least 2"),
        ("probe.temperature=0", "temperature must be above 0"),
        ("probe.unheard=1", "unknown setting probe.unheard"),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, said: str, tmp_path: Path):
    ended = call(*words("embedded:base", tmp_path / "out"), "--set", setting)

    assert ended.code == 1 and said in ended.error
    assert not (tmp_path / "out").exists()
