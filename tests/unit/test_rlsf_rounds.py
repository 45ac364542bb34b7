"""RLSF's routes and rounds on a random model of two layers: what each writes, and that a kill changes no byte."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from transformers import AutoModelForSequenceClassification

from inward.answers import AnswerSettings
from inward.config import build
from inward.errors import ModelError, SettingsError
from inward.evaluate import DECODINGS
from inward.methods import rlsf
from inward.methods.rlsf import PolicySettings, Settings
from inward.methods.rounds import trainings
from inward.methods.start import Start
from inward.models import ModelSettings
from inward.rank import PairSettings
from inward.runs import RunFolder
from inward.sample import SamplingSettings
from inward.train import PreferenceSettings, RewardModelSettings, TuningSettings
from inward.types import Artifact, Manifest, PreferencePair, Prompt, Trace, TraceGroup

PROMPTS = [Prompt(id=f"q{n}", text=f"Q:{n}+4+7?\nA:") for n in range(1, 5)]
FEW = {"lora": None, "num_epochs": 1, "batch_size": 8, "num_saves": 4}
SETTINGS = Settings(
    model=ModelSettings(device="cpu"),
    sampling=SamplingSettings(strategy="sample", group_size=6, max_completion_tokens=8),
    answer=AnswerSettings(kind="number", elicit="never"),
    confidence="self_certainty",
    pairs=PairSettings(rule="best_worst", num_best=3, gamma=None),
    optim=PreferenceSettings(learning_rate=2e-3, **{**FEW, "batch_size": 4}),
    reward=RewardModelSettings(learning_rate=2e-3, **FEW),
    policy=PolicySettings(
        steps=3,
        prompts_per_step=2,
        group_size=4,
        batch_rows=8,
        max_completion_tokens=8,
        learning_rate=2e-3,
        save_every=1,
        lora=None,
    ),
    tuning=TuningSettings(learning_rate=2e-3, **{**FEW, "batch_size": 2}),
)
TWO = dataclasses.replace(SETTINGS, rounds=2)
MANIFEST = Manifest(
    inward="0",
    method="rlsf",
    settings={},
    recipe="defaults",
    seed=3,
    start=Artifact(name="m", sha256="1"),
    data=None,
    evaluation=None,
    labels_used=False,
    versions={},
    hardware={},
    created="2025-01-01T00:00:00Z",
)

Stop = Callable[[str, int, int], None]


def run(out: Path, model: Path, settings: Settings, progress: Stop = lambda name, done, total: None) -> RunFolder:
    with RunFolder.open(out, MANIFEST, progress=progress) as folder:
        rlsf.run(PROMPTS, Start("m", model, settings.model), folder, settings, seed=3)
    return RunFolder.read(out)


def made(out: Path) -> dict[str, bytes]:
    """Everything but the log, the lock and what knows the time."""
    files = [file for file in sorted(out.rglob("*")) if file.is_file() and file.name not in ("log.jsonl", "lock")]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> RunFolder:
    return run(tmp_path_factory.mktemp("two") / "out", tiny_model, TWO)


def test_one_round_lies_in_the_folder_itself(tmp_path: Path, tiny_model: Path, two: RunFolder):
    """And is byte for byte the first of two."""
    one = made(run(tmp_path / "out", tiny_model, SETTINGS).path)
    tops = {name.partition("/")[0] for name in one}
    assert tops == {"traces", "scored", "pairs", "checkpoint", "manifest.json"}
    assert one == {name: data for name, data in made(two.path).items() if not name.startswith("rounds/")}


def test_the_second_round_goes_on_from_the_checkpoint_of_the_first(two: RunFolder):
    first, second = (two.records(f"{place}traces", TraceGroup) for place in ("", "rounds/02/"))
    assert {trace.policy for group in first for trace in group.traces} == {"m"}
    assert {trace.policy for group in second for trace in group.traces} == {"checkpoint"}
    assert first[0].sampling.seed == 3 != second[0].sampling.seed
    assert {pair.chosen.policy for pair in two.records("rounds/02/pairs", PreferencePair)} == {"checkpoint"}
    weights = [(two.path / f"{place}checkpoint/model.safetensors").read_bytes() for place in ("", "rounds/02/")]
    assert weights[0] != weights[1]


def test_steps_are_counted_over_all_rounds(two: RunFolder):
    """At most three pairs of each of four prompts, in batches of four, the last of them perhaps not full."""
    steps = [math.ceil(len(two.records(f"{place}pairs", PreferencePair)) / 4) for place in ("", "rounds/02/")]
    assert {number: event["steps"] for number, event in trainings(two).items()} == {1: steps[0], 2: sum(steps)}
    logged = [event["step"] for event in two.events() if event["event"] == "train" and "rewards/margins" in event]
    assert logged == list(range(1, sum(steps) + 1))


def first_loss(folder: RunFolder, number: int) -> float:
    step = trainings(folder)[number - 1]["steps"] + 1
    return next(event["loss"] for event in folder.events() if event["event"] == "train" and event["step"] == step)


def test_the_reference_of_later_rounds(tmp_path: Path, tiny_model: Path, two: RunFolder):
    """Against the checkpoint it starts from, a round's first loss is ln 2; against the run's start model it is not."""
    assert first_loss(two, 2) == pytest.approx(math.log(2), abs=1e-5)
    to_start = run(tmp_path / "out", tiny_model, dataclasses.replace(TWO, reference="start"))
    assert abs(first_loss(to_start, 2) - math.log(2)) > 1e-3
    assert made(to_start.path)["checkpoint/model.safetensors"] == made(two.path)["checkpoint/model.safetensors"]


@pytest.mark.parametrize(
    "point",
    [("scored", 0), ("train", 1), ("rounds/02/traces", 0), ("rounds/02/pairs", 1), ("rounds/02/train", 2)],
)
def test_a_run_killed_anywhere_ends_in_the_same_bytes(
    tmp_path: Path, tiny_model: Path, two: RunFolder, point: tuple[str, int]
):
    def stop(name: str, done: int, total: int) -> None:
        if (name, done) == point:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", tiny_model, TWO, stop)
    again = run(tmp_path / "out", tiny_model, TWO)
    assert made(again.path) == made(two.path)
    assert trainings(again).keys() == {1, 2}


REWARD = dataclasses.replace(SETTINGS, route="reward_model")


@pytest.fixture(scope="module")
def rewarded(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> RunFolder:
    return run(tmp_path_factory.mktemp("rewarded") / "out", tiny_model, REWARD)


def test_the_route_over_a_reward_model(rewarded: RunFolder, tiny_model: Path):
    files = made(rewarded.path)
    tops = {name.partition("/")[0] for name in files}
    assert tops == {"traces", "scored", "pairs", "reward_model", "checkpoint", "manifest.json"}
    assert AutoModelForSequenceClassification.from_pretrained(rewarded.path / "reward_model").config.num_labels == 1
    assert files["checkpoint/model.safetensors"] != (tiny_model / "model.safetensors").read_bytes()
    events = list(rewarded.events())
    rewards = [event["reward"] for event in events if event["event"] == "train" and "reward" in event]
    monitored = [event["reward"] for event in events if event["event"] == "monitor"]
    assert len(rewards) == 3 and rewards == pytest.approx(monitored, abs=1e-5)
    losses = [event["loss"] for event in events if event["event"] == "train_reward" and "loss" in event]
    # Four prompts of three pairs, eight at a time; margins are above 1, so that the loss starts above softplus(1).
    assert len(losses) == 2 and losses[0] > math.log(1 + math.e) - 0.3
    assert trainings(rewarded)[1]["steps"] == 3
    assert trainings(rewarded, "trained_reward")[1]["pairs"] == 12


@pytest.mark.parametrize("point", [("train_reward", 1), ("train", 0), ("train", 2)])
def test_the_route_over_a_reward_model_survives_a_kill(
    tmp_path: Path, tiny_model: Path, rewarded: RunFolder, point: tuple[str, int]
):
    def stop(name: str, done: int, total: int) -> None:
        if (name, done) == point:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", tiny_model, REWARD, stop)
    assert made(run(tmp_path / "out", tiny_model, REWARD).path) == made(rewarded.path)


def test_fine_tuning_on_the_surest_trace_of_each_prompt(tmp_path: Path, tiny_model: Path):
    folder = run(tmp_path / "out", tiny_model, dataclasses.replace(TWO, route="sft"))
    for place in ("", "rounds/02/"):
        groups = folder.records(f"{place}traces", TraceGroup)
        surest = folder.records(f"{place}surest", Trace)
        assert [one.prompt_id for one in surest] == [group.prompt.id for group in groups]
        assert not (folder.path / f"{place}pairs").exists()
    # Four traces, two at a time, and that twice.
    assert [event["steps"] for event in trainings(folder).values()] == [2, 4]


def test_a_policy_that_could_not_sample_is_refused_before_any_work(tmp_path: Path, tiny_model: Path, shared):
    long = dataclasses.replace(REWARD, policy=dataclasses.replace(REWARD.policy, max_completion_tokens=64))
    with pytest.raises(SettingsError, match=r"policy.max_completion_tokens = 64 leaves no room for a prompt in the 64"):
        run(tmp_path / "long", tiny_model, long)
    with pytest.raises(ModelError, match="no end-of-sequence token, which route=reward_model needs"):
        run(tmp_path / "endless", shared("models/adder-qwen3-228"), REWARD)
    assert not (tmp_path / "long/traces").exists() and not (tmp_path / "endless/traces").exists()


def test_a_table_of_the_policy_keeps_rlsfs_other_defaults():
    """Those of PPO in the paper's code, not those of GRPO in RLIF."""
    policy = build(Settings, {"policy": {"steps": 7}}).policy
    assert (policy.steps, policy.kl, policy.temperature, policy.learning_rate) == (7, 0.05, 0.7, 3e-6)
    assert (policy.lr_scheduler, policy.max_completion_tokens, policy.estimator) == ("linear", 256, "rloo")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"reference": "start", "route": "sft"}, "reference=start goes with route=dpo"),
        ({"baseline": "sft"}, "baseline=sft needs route=sft, got dpo"),
        ({"baseline": "majority_pairs"}, r"baseline=majority_pairs needs pairs\.source=majority, got confidence"),
        ({"baseline": "cot_decoding", "rounds": 2}, "rounds does nothing with baseline=cot_decoding"),
        ({"baseline": "best"}, "baseline: Input should be"),
    ],
)
def test_settings_that_contradict_each_other(wrong: dict[str, object], error: str):
    with pytest.raises(SettingsError, match=error):
        build(Settings, wrong)


def test_every_decoding_of_an_evaluation_is_a_baseline():
    assert get_args(rlsf.DecodingBaseline) == DECODINGS
    assert set(rlsf.BASELINES) == set(get_args(rlsf.TrainedBaseline))
