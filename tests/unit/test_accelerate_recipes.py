"""The configuration files of recipes/accelerate, as accelerate itself reads them and as they reach the processes."""

from pathlib import Path

import pytest
from accelerate import FullyShardedDataParallelPlugin
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from torch.distributed.fsdp import CPUOffloadPolicy

from inward.errors import SettingsError
from inward.models import ModelSettings
from inward.train.processes import is_sharded, planned, together
from inward.train.whole import refuse_sharding

FOLDER = Path(__file__).parents[2] / "recipes/accelerate"


def sizes(name: str) -> tuple[int, int]:
    machines, devices = name.rpartition("_")[2].split("x")
    return int(machines), int(machines) * int(devices)


@pytest.mark.parametrize("name", ["ddp_1x8", "ddp_4x8", "fsdp2_1x8", "fsdp2_4x8"])
def test_accelerate_makes_of_a_file_what_its_name_says(name: str, monkeypatch: pytest.MonkeyPatch):
    read = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert (read.num_machines, read.num_processes) == sizes(name)
    words = ["--config_file", str(FOLDER / f"{name}.yaml"), "-m", "inward", "run"]
    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    env = prepare_multi_gpu_env(args)
    assert args.module and str(args.nproc_per_node) == "8"
    assert env["ACCELERATE_MIXED_PRECISION"] == "bf16"
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    assert is_sharded() == name.startswith("fsdp2")
    if is_sharded():
        plugin = FullyShardedDataParallelPlugin()
        assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
        assert not plugin.cpu_ram_efficient_loading and not isinstance(plugin.cpu_offload, CPUOffloadPolicy)
        assert plugin.state_dict_type.name == "SHARDED_STATE_DICT"


def test_the_file_of_deepspeed_reaches_the_processes(monkeypatch: pytest.MonkeyPatch):
    file = str(FOLDER / "deepspeed_zero2_1x8.yaml")
    assert load_config_from_file(file).num_processes == 8
    args, _, _ = _validate_launch_command(
        launch_command_parser().parse_args(["--config_file", file, "-m", "inward", "run"])
    )
    args.deepspeed_fields_from_accelerate_config = ""  # which `accelerate launch` adds, to warn of what stands twice
    command, env = prepare_deepspeed_cmd_env(args)
    assert args.module and str(args.nproc_per_node) == "8" and command is None  # one machine: torch's own launcher
    assert env["ACCELERATE_MIXED_PRECISION"] == "bf16" and env["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "2"
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    assert not is_sharded()
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    with pytest.raises(SettingsError, match="GRPO samples from the policy as it trains"):
        refuse_sharding("GRPO")


def test_every_file_is_read():
    layouts = {"ddp_1x8", "ddp_4x8", "fsdp2_1x8", "fsdp2_4x8", "deepspeed_zero2_1x8"}
    assert {file.stem for file in FOLDER.glob("*.yaml")} == {*layouts, "rlsf"}


@pytest.mark.parametrize(
    ("env", "device", "error"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "cpu", "without weights"),
        ({"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "cpu", "ZeRO 3 leaves the processes waiting"),
        ({}, "cpu:0", "would put all 2 processes on one device; set it to cpu"),
    ],
)
def test_what_would_fail_later_is_refused(env, device, error, monkeypatch: pytest.MonkeyPatch):
    for name, value in {**env, "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=error), together(ModelSettings(device=device)):
        pytest.fail("it was begun")


def test_a_plan_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    with planned(8, "full"):
        assert is_sharded()
    assert not is_sharded()
    with pytest.raises(SettingsError, match="none or full"), planned(8, "half"):
        pytest.fail("it was begun")
