"""Every mistake a user can make ends in one clear line and exit code 1, before any folder is made where it can."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import Ended, call, forked

from inward.tasks import NAMES

GOOD = '{"id": "a", "prompt": "Q:1+2+3?\\nA:"}\n{"id": "b", "prompt": "Q:4*2-1?\\nA:"}\n'
LONG = json.dumps({"id": "long", "prompt": "1" * 70}) + "\n"
SETTINGS = "sampling: {num_branches: 3, max_completion_tokens: 4}\noptim: {num_epochs: 1}\nanswer: {elicit: never}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a command, with prompts and settings that are in order."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("good.jsonl", GOOD), ("s.yaml", SETTINGS), ("empty.jsonl", ""), ("long.jsonl", LONG + GOOD)):
        Path(name).write_text(text, encoding="utf-8")
    Path("unnamed.jsonl").write_text('{"text": "Q:1+2?"}\n', encoding="utf-8")
    Path("hole.jsonl").write_text(GOOD + '{"prompt": " "}\n', encoding="utf-8")
    return tmp_path


def run(model: Path | str, *extra: str, prompts: str = "good.jsonl", out: str = "out", how=call) -> Ended:
    """`inward run rlsf`; a later option wins over an earlier one of the same name."""
    return how(
        *("run", "rlsf", "--model", model, "--prompts", prompts, "--out", out, "--config", "s.yaml"),
        *extra,
    )


@pytest.mark.parametrize(
    ("prompts", "error"),
    [
        (
            "none.jsonl",
            "no file none.jsonl; give a JSON-lines or parquet file, a hub data set (owner/name) or the name of a task",
        ),
        ("empty.jsonl", "empty.jsonl holds no rows"),
        ("unnamed.jsonl", "unnamed.jsonl, line 1: no column `prompt` or `question`; columns are text"),
        ("hole.jsonl", "hole.jsonl, line 3: the prompt is empty"),
    ],
)
def test_prompts_that_cannot_be_read(here: Path, tiny_model: Path, prompts: str, error: str):
    ended = run(tiny_model, prompts=prompts)

    assert (ended.code, ended.error) == (1, error)
    assert not (here / "out").exists()


def test_a_data_set_that_cannot_be_reached(here: Path, tiny_model: Path):
    ended = run(tiny_model, prompts="nobody/nothing")

    assert ended.code == 1
    assert ended.error.startswith("no file nobody/nothing, and no data set of that name could be loaded: ")
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        (["--set", "pairs.gama=0.5"], "unknown setting pairs.gama; did you mean pairs.gamma?"),
        (["--set", "pairs.gamma=1.5"], "pairs.gamma must be in [-1, 1], or null for none; got 1.5"),
        (["--config", "none.yaml"], "cannot read none.yaml: No such file or directory"),
        (
            ["--eval-task", "maths"],
            f"task 'maths' is unknown; choose one of {', '.join(NAMES)}, or give a data file",
        ),
        (
            ["--eval-task", "arithmetic", "--eval-data", "good.jsonl"],
            "the task arithmetic makes its problems: leave out good.jsonl, or name the benchmark it holds",
        ),
        (
            ["--eval-data", "good.jsonl"],
            "good.jsonl, line 1: no gold answer; judging, and the reward gold, need a column `answer`",
        ),
    ],
)
def test_settings_and_problems_that_cannot_be_used(here: Path, tiny_model: Path, extra: list[str], error: str):
    ended = run(tiny_model, *extra)

    assert (ended.code, ended.error) == (1, error)
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (".", ". is a folder without config.json, so it is no transformers model"),
        ("./none", "no model folder at ./none: give a folder, a hub id (owner/name) or embedded:<name>"),
        ("nobody/nothing", "model 'nobody/nothing' is neither a folder nor reachable on the hub: "),
        ("embedded:cat", "no embedded model is called 'cat': choose one of base, instruct, chat"),
    ],
)
def test_models_that_cannot_be_had(here: Path, model: str, error: str):
    ended = run(model)

    assert ended.code == 1
    assert ended.error.startswith(error) and "\n" not in ended.error
    assert not (here / "out").exists()


def test_an_evaluation_on_nothing(here: Path, tiny_model: Path):
    ended = call("evaluate", "--model", tiny_model, "--out", "out")

    assert ended.code == 1
    assert ended.error == "nothing to evaluate on: give a task (--task) or a data file (--data)"
    assert not (here / "out").exists()


def test_an_unknown_method(here: Path, tiny_model: Path):
    ended = call("run", "rlhf", "--model", tiny_model, "--prompts", "good.jsonl", "--out", "out")

    assert (ended.code, ended.error) == (1, "method 'rlhf' is unknown; choose one of rlsf, rlif, rlsc")
    assert not (here / "out").exists()


def test_prompts_longer_than_the_context_are_named_and_can_be_left_out(here: Path, tiny_model: Path):
    ended = run(tiny_model, prompts="long.jsonl")
    assert ended.code == 1
    assert "64 tokens: long (1 in all); shorten them" in ended.error
    assert "prompts.too_long=drop" in ended.error
    assert not (here / "out").exists()

    sample = ("sample", "--model", tiny_model, "--prompts", "long.jsonl", "--out", "out", "--config", "s.yaml")
    assert call(*sample, "--set", "prompts.too_long=drop").code == 0
    assert json.loads((here / "out/traces/complete.json").read_text())["records"] == 2

    only_long = run(tiny_model, "--set", "prompts.limit=1", "--set", "prompts.too_long=drop", prompts="long.jsonl")
    assert only_long.code == 1
    assert only_long.error == "every prompt of long.jsonl fills the model's context of 64 tokens"


def test_no_pair_above_the_threshold_says_how_near_it_was_and_what_to_change(here: Path, tiny_model: Path):
    ended = run(tiny_model, "--set", "pairs.gamma=1.0")

    assert ended.code == 1
    pattern = (
        r"no preference pair is left: 0 of 6 traces \(0\.0%\) of 2 prompts reach gamma = 1 "
        r"as their confidence, the surest has 0\.\d{3}\. "
        r"Lower pairs\.gamma, sample more traces \(sampling\.group_size, sampling\.num_branches\), .+"
    )
    assert re.fullmatch(pattern, ended.error)
    assert not (here / "out/checkpoint").exists()


@pytest.fixture
def sampled(here: Path, tiny_model: Path) -> Path:
    """A folder with traces, and the settings they were made under."""
    ended = call("sample", "--model", tiny_model, "--prompts", "good.jsonl", "--out", "out", "--config", "s.yaml")
    assert ended.code == 0, ended.err
    return here / "out"


def test_a_folder_of_another_run_names_every_difference_and_stays_as_it_is(
    here: Path, sampled: Path, tiny_model: Path, shared
):
    before = {file: file.read_bytes() for file in sampled.rglob("*") if file.is_file()}
    hash_ = r'"[0-9a-f]{64}"'

    def refused(*extra: str, model: Path = tiny_model, prompts: str = "good.jsonl") -> str:
        ended = run(model, *extra, prompts=prompts)
        assert ended.code == 1
        first, *differences, last = ended.error.splitlines()
        assert first == "out belongs to another run:"
        assert last == "use another --out, or the settings this folder was made with"
        return "\n".join(line.strip() for line in differences)

    assert refused("--set", "pairs.gamma=0.5") == "settings.pairs.gamma: this folder has 0.9, asked for 0.5"
    assert refused("--seed", "1") == "seed: this folder has 0, asked for 1"
    Path("other.jsonl").write_text(GOOD.replace("1+2", "2+1"), encoding="utf-8")
    assert re.fullmatch(rf"data\.sha256: this folder has {hash_}, asked for {hash_}", refused(prompts="other.jsonl"))
    both = refused("--seed", "1", "--set", "sampling.top_p=0.5")
    assert both == "settings.sampling.top_p: this folder has 1.0, asked for 0.5\nseed: this folder has 0, asked for 1"

    assert {file: file.read_bytes() for file in sampled.rglob("*") if file.is_file()} == before
    assert re.fullmatch(
        rf"start\.sha256: this folder has {hash_}, asked for {hash_}", refused(model=shared("models/adder-qwen3-228"))
    )


def test_a_folder_in_use_by_another_process_is_left_alone(sampled: Path, tiny_model: Path):
    hold = f"import filelock; lock = filelock.FileLock({str(sampled / 'lock')!r}); lock.acquire(); print(); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline()
        log = (sampled / "log.jsonl").read_bytes()
        ended = run(tiny_model)
        holder.kill()

    assert ended.code == 1
    assert ended.error == "out is in use by another process; wait until that is done, or use another --out"
    assert (sampled / "log.jsonl").read_bytes() == log


def test_a_stage_before_its_turn_names_the_command_that_is_missing(here: Path, sampled: Path):
    for args, missing in (
        (["rank", "out"], "out/scored is not complete: run `inward score` first"),
        (["rank", "out", "--out", "other"], "out/scored is not complete: run `inward score` first"),
        (["train", "out"], "out/scored is not complete: run `inward score` first"),
        (["score", "none"], "none is no run folder: it has no manifest.json; check the path"),
        (["report", "out"], "out has no summary.json, so its run is not finished; run the same command again to "),
    ):
        ended = call(*args)
        assert ended.code == 1
        assert ended.error.startswith(missing)
    assert not (here / "other").exists()


def test_settings_of_earlier_stages_cannot_be_changed_in_a_copy(here: Path, sampled: Path):
    assert call("score", "out").code == 0
    for override, stage, setting in (
        ("sampling.top_p=0.5", "traces", "sampling"),
        ("answer.kind=number", "traces", "answer"),
        ("confidence=mean_logprob", "scored", "confidence"),
    ):
        ended = call("rank", "out", "--out", "other", "--set", override)
        assert ended.code == 1
        assert (
            ended.error == f"the {stage} were made under other settings of `{setting}`; make them again in a new folder"
        )
    assert not (here / "other").exists()


def test_a_folder_of_somebody_elses_files_is_never_written_to(here: Path, tiny_model: Path):
    (here / "out").mkdir()
    (here / "out/thesis.tex").write_text("years of work")

    ended = run(tiny_model)

    assert ended.code == 1
    assert ended.error.startswith("out has files (thesis.tex, ...) but no manifest.json, so it is no run folder")
    assert [file.name for file in (here / "out").iterdir()] == ["thesis.tex"]


def test_as_a_process_the_error_is_the_last_line_on_stderr_and_the_exit_code_is_1(here: Path, tiny_model: Path):
    ended = run(tiny_model, prompts="hole.jsonl", how=forked)

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1] == "error: hole.jsonl, line 3: the prompt is empty"
    assert ended.error == "hole.jsonl, line 3: the prompt is empty"
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.trl.nonsense=1", "nonsense"),
        ("optim.lr_scheduler=nonsense", "nonsense"),
        ("optim.lora.r=0", "r and alpha must be at least 1"),
        ("optim.lora.target_modules=[nope]", "no module called nope"),
        ("model.device=cuda", "no such device here"),
    ],
)
def test_training_settings_are_refused_before_any_work(here: Path, tiny_model: Path, setting: str, message: str):
    if setting == "model.device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    ended = run(tiny_model, "--set", setting)
    assert ended.code == 1
    assert message in ended.error
    assert not (here / "out").exists()


def test_prompts_the_tokenizer_cannot_write_are_refused(here: Path, shared):
    """The adder's tokenizer turns every unknown character into the digit 0."""
    ended = run(shared("models/adder-qwen3-228"), prompts=str(write_words(here / "words.jsonl")))
    assert ended.code == 1
    assert "it has no tokens for this text" in ended.error
    assert not (here / "out").exists()


def write_words(path: Path) -> Path:
    path.write_text('{"prompt": "Once upon a time"}\n', encoding="utf-8")
    return path
