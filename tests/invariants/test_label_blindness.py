"""Gold answers reach nothing that training makes: permute or drop them all, and every byte of it stays the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import ADDER_SETTINGS, call, sums, write_lines

from inward.runs import RunFolder
from inward.tasks import arithmetic
from inward.types import EvalItem

NUM_PROMPTS = 36
"""Two shards."""
FEW = ("pairs.max_pairs=48", "optim.num_epochs=1", "evaluation.num_samples=2")
CHAT = ("sampling.group_size=8", "sampling.num_branches=4", "sampling.max_completion_tokens=16", *FEW)
ONLINE = ("optim.steps=2", "optim.save_every=1", "optim.prompts_per_step=4", "optim.group_size=4")
PROBED = (
    *ONLINE,
    "optim.batch_rows=16",
    "optim.max_completion_tokens=16",
    "stop.prompts=4",
    "stop.samples=2",
    "evaluation.num_samples=2",
)


def chains(num: int) -> list[dict[str, str]]:
    problems = arithmetic.problems(num, seed=0)
    return [{"id": one.prompt.id, "prompt": str(one.prompt.text), "answer": one.answer} for one in problems]


def made_without_gold(out: Path) -> dict[str, bytes]:
    """Everything that leads to the trained model, and the model."""
    stages = ("traces", "scored", "pairs", "checkpoints", "checkpoint")
    files = [file for name in stages for file in (out / name).rglob("*")] + list(out.glob("probe.json"))
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(files) if file.is_file()}


def golds_judged_by(out: Path) -> list[str]:
    return [item.gold for item in RunFolder.read(out).records("before/items", EvalItem)]


@pytest.mark.parametrize("method", ["rlif", "rlif --reward majority_vote+answer_disparity", "rlsc"])
def test_permuted_gold_answers_change_no_byte_of_an_online_training(method: str, tmp_path: Path):
    rows = chains(12)
    permuted = [{**row, "answer": rows[i - 5]["answer"]} for i, row in enumerate(rows)]
    made: list[dict[str, bytes]] = []
    for case, asked in (("right", rows), ("wrong", permuted)):
        problems = write_lines(tmp_path / f"{case}.jsonl", asked)
        words = ["run", *method.split(), "--model", "embedded:base", "--prompts", problems, "--eval-data", problems]
        ended = call(*words, "--out", tmp_path / case, *(word for setting in PROBED for word in ("--set", setting)))
        assert ended.code == 0, ended.err
        made.append(made_without_gold(tmp_path / case))
    assert golds_judged_by(tmp_path / "right") != golds_judged_by(tmp_path / "wrong")
    assert made[0] == made[1]
    assert {"probe.json", "checkpoint/model.safetensors", "checkpoints/00001/model.safetensors"} <= set(made[0])


@pytest.mark.parametrize("name", ["chat", "adder"])
def test_permuted_gold_answers_change_the_evaluation_and_not_a_byte_of_training(
    name: str, shared: Callable[[str], Path], tmp_path: Path
):
    rows, settings = (chains(NUM_PROMPTS), CHAT) if name == "chat" else (sums(NUM_PROMPTS), FEW)
    options = [word for setting in settings for word in ("--set", setting)]
    if name == "chat":
        options += ["--model", "embedded:chat"]
    else:
        (tmp_path / "adder.yaml").write_text(ADDER_SETTINGS, encoding="utf-8")
        options += ["--model", str(shared("models/adder-qwen3-228")), "--config", str(tmp_path / "adder.yaml")]

    def run(case: str, asked: list[dict[str, str]], judged: list[dict[str, str]]) -> Path:
        prompts = write_lines(tmp_path / f"{case}-prompts.jsonl", asked)
        problems = write_lines(tmp_path / f"{case}-problems.jsonl", judged)
        words = ["run", "rlsf", "--prompts", prompts, "--out", tmp_path / case, *options]
        ended = call(*words, *(["--eval-data", problems] if judged else []))
        assert ended.code == 0, ended.err
        return tmp_path / case

    golds = [row["answer"] for row in rows]
    permuted = [{**row, "answer": golds[i - 5]} for i, row in enumerate(rows)]
    without = [{"id": row["id"], "prompt": row["prompt"]} for row in rows]

    # The same questions are trained and judged on, so that a leak of their answers would have an effect.
    right, wrong = run("right", rows, rows[:8]), run("wrong", permuted, permuted[:8])
    unjudged = run("unjudged", without, [])

    assert golds_judged_by(right) == golds[:8] != golds_judged_by(wrong)
    assert made_without_gold(wrong) == made_without_gold(right)
    assert made_without_gold(unjudged) == made_without_gold(right)
    assert {"pairs/00000.parquet", "checkpoint/model.safetensors"} <= set(made_without_gold(right))
    assert RunFolder.read(right).manifest.labels_used is False
