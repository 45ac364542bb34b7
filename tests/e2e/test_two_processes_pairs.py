"""DPO, reward model and fine-tuning in two processes, DDP or sharded by FSDP2: the weights of one process.

Fine-tuning is interrupted: SIGTERM comes to one of the processes, both keep the step under way, and go on from there.
"""

from pathlib import Path

import pytest
import torch
import two_processes_pairs
from launching import launch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

SCRIPT = Path(two_processes_pairs.__file__)
WAYS = ("full", "lora")
ATOL = 2e-6
"""Every weight moves by up to 2.5e-3, and in the adapters' case by 1e-2."""

SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}
"""What `accelerate launch` makes of a configuration file such as recipes/accelerate/fsdp2_1x8.yaml."""


def assert_same(alone: Path, together: Path, start: Path):
    """Every weight in `together` is that in `alone`, which is not that of `start`."""
    first, wanted, made = (load_file(one / "model.safetensors") for one in (start, alone, together))
    assert made.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(made[name], value, atol=ATOL, rtol=0)
    assert max(float((value - first[name]).abs().max()) for name, value in wanted.items() if name in first) > 1e-3


@pytest.fixture(scope="module")
def alone(tiny_model, tmp_path_factory):
    """What this process makes by itself, with all parameters and with adapters."""
    folder = tmp_path_factory.mktemp("alone")
    for way in WAYS:
        two_processes_pairs.main(tiny_model, folder / way, way)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_two_processes_end_in_the_weights_of_one(sharded, alone, tiny_model, tmp_path):
    launch(SCRIPT, tiny_model, tmp_path, *WAYS, env=SHARDED if sharded else {})
    for way in WAYS:
        together = tmp_path / way
        for name in ("preference", "reward_model", "tuning"):
            assert_same(alone / way / name, together / name, tiny_model)
            parts = {file.name for file in (together / f"{name}-work").rglob("pytorch_model_fsdp_0/*.distcp")}
            assert parts == ({"__0_0.distcp", "__1_0.distcp"} if sharded else set())
        assert_same(together / "tuning", together / "tuning-resumed", tiny_model)
        AutoModelForCausalLM.from_pretrained(together / "preference")
