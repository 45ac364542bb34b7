"""The trainers of examples/certainty_in_verl.py, in a verl that has the names of verl 0.9.1 and nothing behind them."""

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from inward.errors import SettingsError

EXAMPLE = Path(__file__).parents[2] / "examples/certainty_in_verl.py"


def nested(rows: list[list[float]]) -> torch.Tensor:
    return torch.nested.as_nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)


class Table(dict[str, torch.Tensor]):
    """What stands for tensordict's TensorDict."""

    def __init__(self, fields: dict[str, torch.Tensor], batch_size: int) -> None:
        super().__init__(fields)
        self.batch_size = batch_size

    def to_padded_tensor(self) -> dict[str, torch.Tensor]:
        return {name: value.to_padded_tensor(0) for name, value in self.items()}


class Batch(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.keys)


ROWS = {
    "old_log_probs": [[-1.0, -3.0], [-0.5, -1.5, -1.0]],
    "entropy": [[1.0, 2.0], [0.5, 4.0, 0.5]],
    "response_mask": [[1, 1], [1, 0, 1]],
    "rm_scores": [[0.0, 7.0], [0.0, 0.0, 7.0]],
}
"""Two responses, the second around a tool's token; what a reward function gave them is 7."""


@pytest.fixture
def verl(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand-ins for the modules that the example imports; gives the trainers that register, and the queue."""
    queue = {name: nested(rows) for name, rows in ROWS.items()}
    made = SimpleNamespace(trainers={}, queue=queue, puts=[])

    class PPOTrainerSync:
        def __init__(self, config: dict[str, Any]) -> None:
            self.config = SimpleNamespace(algorithm=config)

        def _compute_old_log_prob(self, batch: Batch, metrics: dict[str, float]) -> Batch:
            metrics["actor/entropy"] = 1.0
            return batch

    def register_trainer(name: str):
        def register(cls: type) -> type:
            assert issubclass(cls, PPOTrainerSync)
            made.trainers[name] = cls
            return cls

        return register

    def kv_batch_get(keys: list[str], partition_id: str, select_fields: list[str]) -> Table:
        assert (keys, partition_id) == (["a_0_0", "a_1_0"], "train")
        return Table({name: queue[name] for name in select_fields}, len(keys))

    def kv_batch_put(keys: list[str], partition_id: str, fields: Table) -> None:
        assert fields.batch_size == len(keys)
        made.puts.append(sorted(fields))
        queue.update(fields)

    def response_to_nested(tensor: torch.Tensor, response_mask: torch.Tensor) -> torch.Tensor:
        lengths = response_mask.offsets().diff().tolist()
        cut = [row[:length] for row, length in zip(tensor, lengths, strict=True)]
        return torch.nested.as_nested_tensor(cut, layout=torch.jagged)

    modules: dict[str, dict[str, Any]] = {
        "transfer_queue": {"kv_batch_get": kv_batch_get, "kv_batch_put": kv_batch_put},
        "tensordict": {"TensorDict": Table},
        "verl.trainer.ppo.v1.trainer_base": {"register_trainer": register_trainer},
        "verl.trainer.ppo.v1.trainer_sync": {"PPOTrainerSync": PPOTrainerSync},
        "verl.workers.utils.padding": {"response_to_nested": response_to_nested},
    }
    for name, contents in modules.items():
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            at = ".".join(parts[:depth])
            if at not in sys.modules or not isinstance(sys.modules[at], _Fake):
                monkeypatch.setitem(sys.modules, at, _Fake(at))
        vars(sys.modules[name]).update(contents)
    made.compute_score = runpy.run_path(str(EXAMPLE))["compute_score"]
    return made


class _Fake(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # which makes it a package


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        # -(1 + 2) / 2 and -(0.5 + 0.5) / 2; then (-1 - 3) / 2 and (-0.5 - 1) / 2
        ("inward_neg_entropy", [[0.0, -1.5], [0.0, 0.0, -0.5]]),
        ("inward_mean_logprob", [[0.0, -2.0], [0.0, 0.0, -0.75]]),
    ],
)
def test_the_reward_stands_in_the_queue_before_advantages_are_made(verl: SimpleNamespace, name: str, scores: Any):
    batch, metrics = Batch(keys=["a_0_0", "a_1_0"], partition_id="train"), {}
    after = verl.trainers[name]({})._compute_old_log_prob(batch, metrics=metrics)
    assert after is batch and verl.puts == [["rm_scores"]]
    assert [row.tolist() for row in verl.queue["rm_scores"].unbind()] == scores
    assert metrics == {"actor/entropy": 1.0, "inward/reward": pytest.approx(sum(map(sum, scores)) / 2)}


def test_the_engines_log_probabilities_are_refused(verl: SimpleNamespace):
    trainer = verl.trainers["inward_mean_logprob"]({"rollout_correction": {"bypass_mode": True}})
    with pytest.raises(SettingsError, match="bypass_mode"):
        trainer._compute_old_log_prob(Batch(keys=["a_0_0"], partition_id="train"), metrics={})


def test_the_reward_function_reads_no_label(verl: SimpleNamespace):
    given = {"data_source": "x", "solution_str": "#### 4", "extra_info": {}}
    assert verl.compute_score(**given, ground_truth="4") == verl.compute_score(**given, ground_truth="5") == 0.0
