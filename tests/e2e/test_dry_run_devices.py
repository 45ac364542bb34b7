"""`inward run --dry-run --devices N --sharding full`: what each of several devices needs."""

import importlib.machinery
import json
from pathlib import Path

import pytest
from commands import call

RECIPE = Path(__file__).parents[2] / "recipes/accelerate"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text(json.dumps({"id": "one", "question": "1" * 600}) + "\n", encoding="utf-8")
    return tmp_path


def run(*extra: str, method: str = "rlsf", model: str = "qwen2.5-1.5b"):
    return call(
        *("run", method, "--model", RECIPE / "models" / model, "--prompts", "prompts.jsonl", "--out", "out"), *extra
    )


def shown(*extra: str, model: str = "qwen2.5-1.5b") -> str:
    ended = run("--config", str(RECIPE / "rlsf.yaml"), "--dry-run", *extra, model=model)
    assert ended.code == 0, ended.err
    return "\n".join(" ".join(line.split()) for line in ended.out.splitlines())


def test_one_device_and_eight_of_them_in_parts(here: Path):
    """1,543,714,304 * 8 bytes = 11.5 GiB of moments; an eighth of it is 1.4 GiB, of the weights in float32 0.7."""
    assert "AdamW's two moments 11.5 GiB 1,543,714,304 parameters * 8 bytes\n" in shown()
    eight = shown("--devices", "8", "--sharding", "full")
    assert "device: cuda, 8 processes, weights sharded over them" in eight
    assert "AdamW's two moments 1.4 GiB 1,543,714,304 parameters * 8 bytes / 8 devices" in eight
    assert "weights, float32 0.7 GiB 1,543,714,304 parameters * 4 bytes / 8 devices" in eight
    assert "weights, whole, float32 5.8 GiB" in eight.partition("train: before sharding")[2]
    # 151,936 * 1,536 = 233,373,696 words by width; (1,543,714,304 - 233,373,696) / 28 layers = 46,797,878
    assert "layers gathered, at most 0.2 GiB 2 layers * 46,797,878 parameters * 2 bytes" in eight
    assert "head gathered, at most 0.9 GiB 2 matrices * 233,373,696 parameters * 2 bytes" in eight
    assert "bfloat16 copies" not in eight and "on their way" not in eight
    whole = shown("--devices", "8")
    assert "gradients on their way between processes 5.8 GiB" in whole and "/ 8 devices" not in whole


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("qwen2.5-1.5b", 1_543_714_304), ("qwen2.5-7b", 7_615_616_512), ("qwen2.5-32b", 32_763_876_352)],
)
def test_the_models_of_the_table(here: Path, model: str, parameters: int):
    assert f"Qwen2ForCausalLM, {parameters:,} parameters" in shown("--devices", "32", "--sharding", "full", model=model)


def test_steps_are_those_of_all_devices_together(here: Path):
    """One prompt of ten branches: 45 pairs, one a device; 45 / 8 makes 6 steps an epoch."""
    assert "optimizer steps: 3 epochs * 45 pairs / 8 = 18 at most" in shown("--devices", "8")


@pytest.mark.parametrize(
    ("method", "extra", "error"),
    [
        ("rlsf", ("--devices", "8"), "--devices and --sharding are of --dry-run"),
        ("rlsf", ("--dry-run", "--devices", "0"), "--devices must be at least 1"),
        ("rlsf", ("--dry-run", "--sharding", "half"), "--sharding is none or full, got half"),
        ("rlif", ("--dry-run", "--sharding", "full"), "GRPO samples from the policy as it trains"),
        ("rlsc", ("--dry-run", "--sharding", "full"), "RLSC samples from the policy as it trains"),
    ],
)
def test_what_cannot_be_is_refused(here: Path, method: str, extra: tuple[str, ...], error: str):
    ended = run(*extra, method=method)
    assert (ended.code, error in ended.err) == (1, True), ended.err


def test_an_adapter_beside_four_bits(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inward.train.quantized.find_spec", lambda name: name)
    seen = shown("--set", "optim.lora={quantization: 4bit}")
    # a layer: 2 * 1,536 * 1,536 + 2 * 1,536 * 256 + 3 * 1,536 * 8,960 = 46,792,704; times 28 layers
    assert "beside 1,310,195,712 in 4 bits" in seen
    # * 4.127 / 8 bytes = 0.63 GiB; (1,543,714,304 - 1,310,195,712) * 2 bytes = 0.43 GiB
    assert "weights, frozen, in 4 bits 0.6 GiB 1,310,195,712 parameters * 4.127 bits" in seen
    assert "weights, frozen 0.4 GiB 233,518,592 parameters * 2 bytes" in seen


def test_vllm_takes_the_place_of_the_policys_cache(here: Path, monkeypatch: pytest.MonkeyPatch):
    spec = importlib.machinery.ModuleSpec("vllm", None, origin="vllm/__init__.py")
    monkeypatch.setattr("inward.train.vllm.find_spec", lambda name: spec)
    words = ("--dry-run", "--devices", "8", "--set", "model.device=cuda", "--set", "optim.trl.use_vllm=true")
    beside = run(*words, "--set", "optim.trl.vllm_tensor_parallel_size=2", method="rlif")
    assert beside.code == 0, beside.err
    assert "written by vLLM beside the training, 4 engines of 2 devices, scored here" in beside.out
    assert "1,543,714,304 parameters * 2 bytes / 2 devices; it takes 30% of the device" in beside.out
    assert "KV cache" not in beside.out
    apart = run(*words, "--set", "optim.trl.vllm_mode=server", method="rlif")
    assert "written by vLLM at http://0.0.0.0:8000, scored here" in apart.out
    assert "KV cache" not in apart.out and "it takes 30%" not in apart.out
    wrong = run(*words, "--set", "optim.trl.vllm_tensor_parallel_size=3", method="rlif")
    assert (wrong.code, "= 3 must divide the 8 processes" in wrong.err) == (1, True)
