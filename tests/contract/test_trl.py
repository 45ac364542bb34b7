"""What inward assumes of TRL's public surface."""

import inspect

import torch

from inward.train.preference import OWNED, exact_ids_collator


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


def test_precomputed_reference_log_probabilities_travel_through_the_collator():
    row = {"own_prompt_ids": [1], "own_chosen_ids": [3], "own_rejected_ids": [4]}
    batch = exact_ids_collator(0)([row | {"ref_chosen_logps": -1.0, "ref_rejected_logps": -2.0}])
    assert torch.equal(batch["ref_chosen_logps"], torch.tensor([-1.0]))
    assert torch.equal(batch["ref_rejected_logps"], torch.tensor([-2.0]))


def test_owned_fields_exist():
    from trl.trainer.dpo_config import DPOConfig

    assert set(OWNED) <= set(DPOConfig.__dataclass_fields__)


def test_the_trainer_takes_what_is_passed():
    from trl.trainer.dpo_trainer import DPOTrainer

    parameters = inspect.signature(DPOTrainer.__init__).parameters
    for name in ("model", "ref_model", "args", "data_collator", "train_dataset", "processing_class", "peft_config"):
        assert name in parameters
