"""What inward assumes of TRL's public surface."""

import inspect

import pytest
import torch

from inward.settings.preference import OWNED
from inward.train.preference import exact_ids_collator


def test_the_collator_hands_over_the_traces_own_ids():
    rows = [
        {"own_prompt_ids": [1, 2], "own_chosen_ids": [3], "own_rejected_ids": [4, 5], "prompt_ids": [9], "chosen": ""},
        {"own_prompt_ids": [6], "own_chosen_ids": [7, 8], "own_rejected_ids": [9], "prompt_ids": [9], "chosen": ""},
    ]
    batch = exact_ids_collator(0)(rows)
    # Chosen rows first, then rejected ones, padded on the right.
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0], [6, 7, 8, 0], [1, 2, 4, 5], [6, 9, 0, 0]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]]


def test_precomputed_reference_log_probabilities_travel_through_the_collator_with_the_margin():
    row = {"own_prompt_ids": [1], "own_chosen_ids": [3], "own_rejected_ids": [4], "own_margin": 0.25}
    batch = exact_ids_collator(0)([row | {"ref_chosen_logps": -1.0, "ref_rejected_logps": -2.0}])
    assert torch.equal(batch["ref_chosen_logps"], torch.tensor([-0.75]))
    assert torch.equal(batch["ref_rejected_logps"], torch.tensor([-2.0]))


def test_owned_fields_exist():
    from trl.trainer.dpo_config import DPOConfig

    assert set(OWNED) <= set(DPOConfig.__dataclass_fields__)


def test_the_trainer_takes_what_is_passed():
    from trl.trainer.dpo_trainer import DPOTrainer

    parameters = inspect.signature(DPOTrainer.__init__).parameters
    for name in ("model", "ref_model", "args", "data_collator", "train_dataset", "processing_class", "peft_config"):
        assert name in parameters


def test_the_reward_trainers_collator_pads_on_the_right_and_keeps_the_margin():
    from trl.trainer.reward_trainer import DataCollatorForPreference

    rows = [
        {"chosen_ids": [1, 2], "rejected_ids": [3], "margin": 1.5},
        {"chosen_ids": [4], "rejected_ids": [5, 6], "margin": 2.5},
    ]
    batch = DataCollatorForPreference(pad_token_id=9)(rows)
    assert batch["input_ids"].tolist() == [[1, 2], [4, 9], [3, 9], [5, 6]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0], [1, 0], [1, 1]]
    assert batch["margin"].tolist() == [1.5, 2.5]


@pytest.fixture
def reward_trainer(tiny_model, tmp_path):
    """A RewardTrainer over given rows, as TRL makes it."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    def make(rows, max_length=None):
        return RewardTrainer(
            model=AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1),
            args=RewardConfig(
                output_dir=str(tmp_path), max_length=max_length, use_cpu=True, bf16=False, report_to="none"
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(tiny_model),
        )

    return make


def test_the_reward_trainer_takes_token_ids_as_they_are_and_without_a_limit_drops_none(reward_trainer):
    rows = [{"chosen_ids": [1, 5, 13, 14, 2], "rejected_ids": [0, 0], "margin": 1.5}]
    trainer = reward_trainer(rows)
    assert trainer.train_dataset.to_list() == rows
    (batch,) = trainer.get_train_dataloader()
    assert batch["input_ids"].tolist() == [[1, 5, 13, 14, 2], [0, 0, 0, 0, 0]]
    assert batch["margin"].tolist() == [1.5]


def test_the_reward_trainer_drops_long_pairs_without_a_word(reward_trainer):
    """Why its limit is None, and not left at its default."""
    from trl.trainer.reward_config import RewardConfig

    rows = [{"chosen_ids": [1, 5], "rejected_ids": [0, 0]}, {"chosen_ids": [1, 5, 13, 14, 2], "rejected_ids": [0]}]
    assert reward_trainer(rows, max_length=4).train_dataset.to_list() == rows[:1]
    assert RewardConfig.__dataclass_fields__["max_length"].default == 1024


def test_the_reward_trainer_subtracts_the_margin_within_the_sigmoid(reward_trainer):
    rows = [{"chosen_ids": [1, 5], "rejected_ids": [1, 6], "margin": 1.5}]
    trainer = reward_trainer(rows)
    (batch,) = trainer.get_train_dataloader()
    with torch.no_grad():
        chosen, rejected = trainer.model(batch["input_ids"]).logits[:, 0]
        loss = trainer.compute_loss(trainer.model, dict(batch))
    assert float(loss) == pytest.approx(float(-torch.log(torch.sigmoid(chosen - rejected - 1.5))), abs=1e-5)


def test_a_scalar_head_reads_the_last_token_that_is_not_padding_whatever_the_mask_says(tiny_model):
    """Why padding is an id that no trace ends with."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1).eval()
    pad = model.config.pad_token_id
    with torch.no_grad():
        short, masked = model(torch.tensor([[1, 5]])), torch.ones(1, 3, dtype=torch.long)
        assert float(model(torch.tensor([[1, 5, pad]]), attention_mask=masked).logits) == float(short.logits)
        model.config.pad_token_id = 7
        assert float(model(torch.tensor([[1, 5, pad]]), attention_mask=masked).logits) != float(short.logits)


def test_owned_fields_of_the_other_trainers_exist():
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.rloo_config import RLOOConfig

    from inward.settings.group_policy import OWNED as GROUP_POLICY
    from inward.settings.group_policy import OWNED_GRPO
    from inward.settings.reward_model import OWNED as REWARD_MODEL

    assert set(REWARD_MODEL) <= set(RewardConfig.__dataclass_fields__)
    assert set(GROUP_POLICY) <= set(GRPOConfig.__dataclass_fields__) & set(RLOOConfig.__dataclass_fields__)
    assert set(OWNED_GRPO) <= set(GRPOConfig.__dataclass_fields__)
    assert not set(OWNED_GRPO) & set(RLOOConfig.__dataclass_fields__)
