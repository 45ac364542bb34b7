"""The commands do what their help says, end to end, on a real model of 228 parameters that adds ten-digit numbers."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import ADDER_SETTINGS, ENVIRONMENT, Ended, call, spawn, sums, write_lines

from inward.evaluate import METRICS
from inward.evaluate.judging import FROM_OUTSIDE
from inward.runs import RunFolder
from inward.types import PreferencePair

PROMPTS, PROBLEMS = 40, 5
KEPT = ("traces", "scored", "pairs", "checkpoint", "before", "after")
"""What a finished run folder keeps, besides the report and the numbers."""


@pytest.fixture(scope="module")
def adder(shared: Callable[[str], Path]) -> Path:
    return shared("models/adder-qwen3-228")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prompts, problems and settings."""
    folder = tmp_path_factory.mktemp("inputs")
    write_lines(folder / "prompts.jsonl", sums(PROMPTS))
    write_lines(folder / "problems.jsonl", sums(PROBLEMS, seed=1))
    (folder / "settings.yaml").write_text(ADDER_SETTINGS, encoding="utf-8")
    return folder


def command(name: str, adder: Path, inputs: Path, out: Path) -> list[str]:
    words = [*name.split(), "--model", adder, "--prompts", inputs / "prompts.jsonl", "--out", out]
    return [*map(str, words), "--config", str(inputs / "settings.yaml")]


@pytest.fixture(scope="module")
def finished(adder: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """The folder of a whole `inward run rlsf`, made by a process of its own, and what that process said."""
    out = tmp_path_factory.mktemp("run") / "out"
    ended = spawn(*command("run rlsf", adder, inputs, out), "--eval-data", str(inputs / "problems.jsonl"))
    assert ended.code == 0, ended.err
    return out, ended


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def key(pair: PreferencePair) -> tuple[str, int, int]:
    return pair.prompt.id, pair.chosen.index, pair.rejected.index


def test_help_is_shown_without_loading_torch():
    script = (
        "import sys\nfrom inward.cli import main\nsys.argv = ['inward', '--help']\n"
        "try:\n    main()\nfinally:\n    print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    shown, _, loaded = done.stdout.partition("LOADED")

    assert all(name in shown for name in ("demo", "run", "evaluate", "sample", "score", "rank", "train", "report"))
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "numpy", "pyarrow", "pydantic"}
    assert not heavy & set(loaded.split())


def test_a_run_leaves_what_the_page_on_run_folders_lists(finished: tuple[Path, Ended]):
    out, _ = finished

    names = {file.name for file in out.iterdir()}
    assert names == {*KEPT, "manifest.json", "lock", "log.jsonl", "summary.json", "report.html"}
    for name in ("before", "after"):
        assert {file.name for file in (out / name).iterdir()} == {"scored", "items", "report.json"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>") and "rlsf" in page


def test_the_summary_holds_every_documented_number(finished: tuple[Path, Ended], adder: Path, inputs: Path):
    summary = json.loads((finished[0] / "summary.json").read_text(encoding="utf-8"))

    assert summary["method"] == "rlsf"
    assert summary["model"] == str(adder)
    assert summary["task"] == str(inputs / "problems.jsonl")
    assert summary["labels_used"] is False
    assert summary["recipe"] == str(inputs / "settings.yaml")
    named = {"greedy_accuracy", "sampled_accuracy", "majority_accuracy", "pass_at_k", "ece", "brier", "auroc"}
    named |= {"entropy", "length", "ece_disparity", "brier_disparity", "auroc_disparity", "ece_sampled"}
    assert named <= set(METRICS)
    for part in ("before", "after", "difference"):
        assert set(summary[part]) == {key for key in METRICS if not key.endswith(FROM_OUTSIDE)}
        assert all(set(estimate) == {"value", "low", "high", "n"} for estimate in summary[part].values())
    # Published for this model: greedy answers exact 3000 times in 3000.
    assert summary["before"]["greedy_accuracy"]["value"] == 1.0
    assert summary["before"]["greedy_accuracy"]["n"] == PROBLEMS
    assert summary["before"]["length"]["value"] == 11.0
    assert summary["pass_k"] == 2
    changed = summary["after"]["entropy"]["value"] - summary["before"]["entropy"]["value"]
    assert summary["difference"]["entropy"]["value"] == pytest.approx(changed, abs=1e-12)

    counts = summary["counts"]
    assert (counts["prompts"], counts["traces"]) == (PROMPTS, 4 * PROMPTS)
    assert counts["traces_truncated"] == counts["pairs_too_long"] == 0
    assert counts["pairs"] == len(RunFolder.read(finished[0]).records("pairs", PreferencePair)) > 0
    stages = {"evaluate_before", "sample", "score", "rank", "train", "evaluate_after"}
    assert set(summary["seconds"]) == stages
    assert all(seconds > 0 for seconds in summary["seconds"].values())


def test_the_terminal_says_where_the_results_are_and_nothing_on_stdout(finished: tuple[Path, Ended]):
    out, ended = finished

    assert ended.out == ""
    for name in ("report.html", "summary.json", "checkpoint"):
        assert any(line.endswith(str(out / name)) for line in ended.err.splitlines())
    assert "greedy accuracy" in ended.err
    assert "Warning" not in ended.err and "warning" not in ended.err


def test_the_checkpoint_is_a_plain_model_that_still_writes_eleven_digits(finished: tuple[Path, Ended], adder: Path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoint = finished[0] / "checkpoint"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    start = AutoModelForCausalLM.from_pretrained(adder)
    row = sums(1, seed=2)[0]
    prompt = tokenizer(row["prompt"], return_tensors="pt")["input_ids"]

    written = model.generate(prompt, do_sample=False)[0, prompt.shape[1] :]

    assert tokenizer.decode(written) == row["answer"]
    assert len(row["answer"]) == len(written) == 11
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (checkpoint / name).read_bytes() == (adder / name).read_bytes()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, start.state_dict()[name])}
    # The adapter is merged into the attention, and nothing else has changed.
    assert moved and all("self_attn" in name for name in moved)
    assert model.config.eos_token_id is None and model.config.pad_token_id is None


def test_the_same_command_again_makes_nothing_twice(finished: tuple[Path, Ended], adder: Path, inputs: Path):
    out, _ = finished
    files = [file for name in KEPT for file in (out / name).rglob("*") if file.suffix == ".parquet"]
    files += [file for file in (out / "checkpoint").iterdir()]
    before = {file: (file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes()) for file in files}
    events = list(RunFolder.read(out).events())
    summary = json.loads((out / "summary.json").read_text())

    ended = call(*command("run rlsf", adder, inputs, out), "--eval-data", str(inputs / "problems.jsonl"))

    assert ended.code == 0, ended.err
    assert {file: (file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes()) for file in files} == before
    new = [event for event in RunFolder.read(out).events()][len(events) :]
    assert new[0]["event"] == "opened" and new[0]["resumed"] is True
    assert not {"shard", "train", "trained", "built"} & {event["event"] for event in new}
    again = json.loads((out / "summary.json").read_text())
    assert {**again, "seconds": None} == {**summary, "seconds": None}


def test_the_stages_one_by_one_make_the_bytes_of_a_whole_run(
    finished: tuple[Path, Ended], adder: Path, inputs: Path, tmp_path: Path
):
    out = tmp_path / "stages"
    for words in (command("sample", adder, inputs, out), ["score", out], ["rank", out], ["train", out]):
        ended = call(*words)
        assert ended.code == 0, ended.err

    for name in ("traces", "scored", "pairs", "checkpoint"):
        assert contents(out / name) == contents(finished[0] / name), name


def test_a_stage_writes_under_other_settings_into_another_folder(finished: tuple[Path, Ended], tmp_path: Path):
    out, other = finished[0], tmp_path / "other"
    before = contents(out)

    assert call("rank", out, "--out", other, "--set", "pairs.gamma=0.5").code == 0

    assert contents(out) == before
    assert contents(other / "scored") == contents(out / "scored")
    was, now = RunFolder.read(out), RunFolder.read(other)
    first, second = (json.loads((folder / "manifest.json").read_text())["settings"] for folder in (out, other))
    assert second == {**first, "pairs": {**first["pairs"], "gamma": 0.5}} != first
    few, more = was.records("pairs", PreferencePair), now.records("pairs", PreferencePair)
    # A threshold of 0.9 lets fewer traces be chosen than one of 0.5.
    assert {key(pair) for pair in few} < {key(pair) for pair in more}

    third = tmp_path / "third"
    assert call("train", other, "--out", third, "--set", "optim.learning_rate=1e-3").code == 0
    weights = [folder / "checkpoint/model.safetensors" for folder in (out, third)]
    assert weights[0].read_bytes() != weights[1].read_bytes()
    assert contents(third / "pairs") == contents(other / "pairs")
    assert not (other / "checkpoint").exists()


def test_evaluate_agrees_with_what_the_run_measured(finished: tuple[Path, Ended], inputs: Path, tmp_path: Path):
    out, checkpoint = tmp_path / "evaluation", finished[0] / "checkpoint"
    settings = ["evaluation.num_samples=2", "evaluation.max_completion_tokens=11", "answer.elicit=never"]
    words: list[Any] = ["evaluate", "--model", checkpoint, "--data", inputs / "problems.jsonl", "--out", out]
    for setting in [*settings, "answer.kind=number"]:
        words += ["--set", setting]

    ended = call(*words)

    assert ended.code == 0, ended.err
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["method"], summary["after"], summary["counts"]) == ("evaluate", None, {})
    assert summary["before"] == json.loads((finished[0] / "summary.json").read_text())["after"]
    assert "greedy accuracy" in ended.err and (out / "report.html").exists()


def test_report_writes_the_same_page_again(finished: tuple[Path, Ended]):
    page = finished[0] / "report.html"
    before = page.read_bytes()
    page.unlink()

    ended = call("report", finished[0])

    assert (ended.code, ended.out) == (0, f"{page}\n")
    assert page.read_bytes() == before
