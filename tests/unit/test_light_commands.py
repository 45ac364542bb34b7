"""The commands that judge, show and grade start without what they do not use."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import synthetic

from inward.config import run_config
from inward.runs import RunFolder
from inward.types import SamplingParams, ScoredGroup, TraceGroup

HEAVY = {"torch", "trl", "transformers", "scipy", "datasets", "peft", "accelerate"}

SAMPLING = SamplingParams(
    strategy="both", group_size=5, num_branches=3, temperature=1.0, top_p=1.0, max_completion_tokens=16, seed=0
)


def run_folder(path: Path) -> str:
    return str(synthetic.write(path / "run", synthetic.run(problems=6, prompts=2, group_size=8)))


def scored_folder(path: Path) -> str:
    settings = run_config("rlsf", "embedded:chat", None, ["answer.kind=number", "pairs.gamma=0.5"], ()).plain()
    made = synthetic.run(problems=1, prompts=2, group_size=8)
    traces = [
        TraceGroup(prompt=group.prompt, traces=tuple(one.trace for one in group.traces), sampling=SAMPLING)
        for group in made.training
    ]
    with RunFolder.open(path / "staged", synthetic.manifest(settings=settings)) as folder:
        folder.map("traces", traces, list, TraceGroup, shard_size=16)
        folder.map("scored", made.training, list, ScoredGroup, shard_size=16)
    return str(folder.path)


def traces_folder(path: Path) -> str:
    folder = scored_folder(path)
    shutil.rmtree(f"{folder}/scored")
    return folder


def completions(path: Path) -> list[str]:
    for name, key, value in (("completions", "completion", "#### 4"), ("problems", "answer", "4")):
        line = json.dumps({"id": "a", "question": "2+2", key: value})
        (path / f"{name}.jsonl").write_text(line + "\n", encoding="utf-8")
    return [str(path / "completions.jsonl"), "--data", str(path / "problems.jsonl"), "--out", str(path / "judged")]


def predictions(path: Path) -> str:
    file = path / "predictions.jsonl"
    file.write_text(json.dumps({"prediction": "#### 4", "gold": "4"}) + "\n", encoding="utf-8")
    return str(file)


def loaded(arguments: list[str]) -> set[str]:
    """The packages that a command has loaded when it ends."""
    script = (
        "import sys\nfrom inward.cli import main\n"
        f"sys.argv = ['inward', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {*done.stdout.rpartition("LOADED")[2].split()}


@pytest.mark.parametrize(
    "arguments",
    [
        lambda path: ["--help"],
        lambda path: ["report", "--help"],
        lambda path: ["report", run_folder(path)],
        lambda path: ["diagnose", run_folder(path)],
        lambda path: ["compare", run_folder(path), "--out", str(path / "page.html")],
        lambda path: ["export", run_folder(path)],
        lambda path: ["rank", scored_folder(path)],
        lambda path: ["choose", run_folder(path)],
        lambda path: ["evaluate", "--completions", *completions(path)],
        lambda path: ["grade", predictions(path), "--out", str(path / "graded.jsonl")],
    ],
    ids=["help", "report-help", "report", "diagnose", "compare", "export", "rank", "choose", "completions", "grade"],
)
def test_no_import_of_what_is_not_used(tmp_path: Path, arguments: Callable[[Path], list[str]]):
    assert not HEAVY & loaded(arguments(tmp_path))


def test_scoring_recorded_signals_loads_no_model_library(tmp_path: Path):
    assert HEAVY & loaded(["score", traces_folder(tmp_path)]) == {"torch"}
