import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from inward import organism
from inward.errors import ModelError, SettingsError
from inward.interpolate import check, mix

Tensors = dict[str, torch.Tensor]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, tiny_model: Path) -> Make:
    """A model folder with given tensors: a real tokenizer, a configuration that is never built."""

    def folder(name: str, tensors: Tensors, **config: object) -> Path:
        path = tmp_path / name
        path.mkdir()
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(tiny_model / file, path / file)
        (path / "config.json").write_text(json.dumps({"model_type": "llama", "name": name} | config))
        save_file(tensors, path / "model.safetensors")
        return path

    return folder


def mixed(a: Path, b: Path, ratio: float, out: Path) -> Tensors:
    mix(a, b, ratio, out)
    return load_file(out / "model.safetensors")


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.view(torch.int32 if tensor.dtype == torch.float32 else torch.int16).flatten().tolist()


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.25, [2.5, -1.0]),  # 3/4 * 2 + 1/4 * 4, 3/4 * -2 + 1/4 * 2
        (0.5, [3.0, 0.0]),
        (-0.5, [1.0, -4.0]),  # 3/2 * 2 - 1/2 * 4, 3/2 * -2 - 1/2 * 2
        (2.0, [6.0, 6.0]),  # -1 * 2 + 2 * 4, -1 * -2 + 2 * 2
    ],
)
def test_a_mix_and_an_extrapolation_by_hand(make: Make, tmp_path: Path, ratio: float, expected: list[float]):
    a, b = make("a", {"w": torch.tensor([2.0, -2.0])}), make("b", {"w": torch.tensor([4.0, 2.0])})

    assert mixed(a, b, ratio, tmp_path / "out")["w"].tolist() == expected


def test_bfloat16_is_mixed_in_float32_and_rounded_once(make: Make, tmp_path: Path):
    """In 128ths, the steps of bfloat16 from 1 to 2: 3/4 * 131 + 1/4 * 133 = 131.5, a tie that goes to the even 132.

    Rounded to bfloat16 in between, 3/4 * 131 = 98.25 would be 98, and 98 + 33.25 would go to 131.
    """
    a = make("a", {"w": torch.tensor([131 / 128], dtype=torch.bfloat16)})
    b = make("b", {"w": torch.tensor([133 / 128], dtype=torch.bfloat16)})

    quarter = mixed(a, b, 0.25, tmp_path / "out")["w"]

    assert quarter.dtype == torch.bfloat16
    assert quarter.item() == 132 / 128


def test_ratios_0_and_1_give_the_very_bits_also_of_negative_zero_and_nan(make: Make, tmp_path: Path):
    one = torch.tensor([-0.0, 1e-45, float("nan"), 0.1, float("inf")])
    other = torch.tensor([3.0, -0.0, 0.3, float("nan"), float("-inf")])
    a, b = make("a", {"w": one}), make("b", {"w": other})

    assert bits(mixed(a, b, 0.0, tmp_path / "zero")["w"]) == bits(one)
    assert bits(mixed(a, b, 1.0, tmp_path / "one")["w"]) == bits(other)


def test_the_data_type_is_that_of_the_first_model(make: Make, tmp_path: Path):
    a = make("a", {"w": torch.tensor([1.0, 2.0], dtype=torch.bfloat16)})
    b = make("b", {"w": torch.tensor([1 + 1 / 1024, 4.0])})

    end = mixed(a, b, 1.0, tmp_path / "end")["w"]

    assert end.dtype == torch.bfloat16
    assert end.tolist() == [1.0, 4.0]
    assert mixed(b, a, 0.0, tmp_path / "back")["w"].tolist() == [1 + 1 / 1024, 4.0]


def test_whole_numbers_are_copied_where_they_agree_and_refused_where_not(make: Make, tmp_path: Path):
    buffers = {"w": torch.tensor([0.0]), "steps": torch.tensor([7, 2**60 + 1]), "mask": torch.tensor([True, False])}
    a = make("a", buffers)
    b = make("b", buffers | {"w": torch.tensor([2.0])})
    odd = make("odd", buffers | {"mask": torch.tensor([True, True])})

    result = mixed(a, b, 0.5, tmp_path / "out")

    assert result["steps"].tolist() == [7, 2**60 + 1] and result["mask"].tolist() == [True, False]
    assert result["w"].tolist() == [1.0]
    with pytest.raises(ModelError, match=r"tensor mask holds torch\.bool that differ"):
        mix(a, odd, 0.5, tmp_path / "refused")


def test_a_number_too_large_for_its_type_is_refused_and_not_written_as_infinity(make: Make, tmp_path: Path):
    a = make("a", {"w": torch.tensor([0.0], dtype=torch.float16)})
    b = make("b", {"w": torch.tensor([60000.0], dtype=torch.float16)})

    assert mixed(a, b, 1.0, tmp_path / "end")["w"].item() == 60000.0
    with pytest.raises(ModelError, match=r"tensor w has numbers too large for torch\.float16 at ratio 1\.5"):
        mix(a, b, 1.5, tmp_path / "out")


def test_infinities_that_stand_in_a_model_are_kept(make: Make, tmp_path: Path):
    bias = {"bias": torch.tensor([0.0, float("-inf")])}

    assert mixed(make("a", bias), make("b", bias), 0.25, tmp_path / "out")["bias"].tolist() == [0.0, float("-inf")]


def shard(folder: Path, parts: dict[str, list[str]]) -> Path:
    """Split the weights of a folder into files with an index."""
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for file, names in parts.items():
        save_file({name: whole[name] for name in names}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, names in parts.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_sharded_models_are_read_whatever_the_other_one_looks_like(make: Make, tmp_path: Path):
    names = ("p", "q", "r")
    a = shard(make("a", {n: torch.tensor([float(i)]) for i, n in enumerate(names)}), {"x": ["r", "p"], "y": ["q"]})
    b = shard(make("b", {n: torch.tensor([10.0]) for n in names}), {"y": ["p", "q"], "x": ["r"]})
    whole = make("whole", {n: torch.tensor([10.0]) for n in names})

    expected = {"p": 5.0, "q": 5.5, "r": 6.0}
    assert {n: t.item() for n, t in mixed(a, b, 0.5, tmp_path / "both").items()} == expected
    assert {n: t.item() for n, t in mixed(a, whole, 0.5, tmp_path / "one").items()} == expected


def test_a_large_mix_is_written_in_files_of_bounded_size_with_an_index(make: Make, tmp_path: Path):
    """Of 8, 8, 40 and 4 bytes, with at most 16 in a file: p and q, then r alone, which is larger, then s."""
    sizes = {"p": 2, "q": 2, "r": 10, "s": 1}
    a = make("a", {name: torch.zeros(size) for name, size in sizes.items()})
    b = make("b", {name: torch.ones(size) for name, size in sizes.items()})
    out = tmp_path / "out"

    mix(a, b, 0.5, out, shard_bytes=16)

    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert index["metadata"]["total_size"] == 60
    assert index["weight_map"] == {"p": files[0], "q": files[0], "r": files[1], "s": files[2]}
    assert sorted(file.name for file in out.glob("*.safetensors")) == files
    parts = [load_file(out / file) for file in files]
    assert {name: tensor.tolist() for part in parts for name, tensor in part.items()} == {
        name: [0.5] * size for name, size in sizes.items()
    }


def test_embedded_models_with_tied_weights_mix_to_a_plain_model(tmp_path: Path):
    a, b, out = organism.path("base"), organism.path("instruct"), tmp_path / "out"

    mix(a, b, 0.25, out, shard_bytes=200_000)

    names = set(json.loads((out / "model.safetensors.index.json").read_text())["weight_map"])
    assert names == set(load_file(a / "model.safetensors")) and "lm_head.weight" not in names
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    first, second = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (a, b))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, 0.75 * first[name] + 0.25 * second[name], rtol=0, atol=1e-7)
    assert AutoTokenizer.from_pretrained(out).get_vocab() == AutoTokenizer.from_pretrained(a).get_vocab()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (a / name).read_bytes()


W = {"w": torch.zeros(2, 3)}


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        ({}, {}, r"tensor w is in .*a and not in .*b"),
        (
            W | {"lm_head": torch.zeros(2), "n": torch.zeros(1)},
            {},
            r"tensor lm_head and 1 more is in .*b and not in .*a",
        ),
        ({"w": torch.zeros(3, 2)}, {}, r"tensor w has the shape \[2, 3\] in .*a and \[3, 2\] in .*b"),
        ({"w": torch.zeros(2, 3, dtype=torch.int32)}, {}, r"tensor w is F32 in .*a and I32 in .*b"),
        (W, {"model_type": "qwen2"}, r"differ in model_type: 'llama' in .*a, 'qwen2' in .*b"),
        (W, {"num_attention_heads": 8}, r"differ in num_attention_heads: 4 in .*a, 8 in .*b"),
        (W, {"tie_word_embeddings": False}, r"differ in tie_word_embeddings: True"),
        (W, {"quantization_config": {"bits": 4}}, r"b is quantised"),
    ],
)
def test_models_that_differ_are_refused_before_anything_is_written(
    make: Make, tmp_path: Path, tensors: Tensors, config: dict[str, object], message: str
):
    same = {"num_attention_heads": 4, "tie_word_embeddings": True}
    a, b = make("a", W, **same), make("b", tensors, **(same | config))

    with pytest.raises(ModelError, match=message):
        mix(a, b, 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_key_that_one_configuration_leaves_out_is_no_difference(make: Make):
    check(make("a", W, head_dim=16), make("b", W))


def test_other_vocabularies_are_refused_with_the_first_token_that_differs(make: Make, tmp_path: Path):
    a, b = make("a", W), make("b", W)
    tokenizer = json.loads((b / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["7"], vocabulary["8"] = vocabulary["8"], vocabulary["7"]
    (b / "tokenizer.json").write_text(json.dumps(tokenizer))

    seven, eight = vocabulary["8"], vocabulary["7"]
    message = rf"vocabularies differ in 2 tokens.* the id of '7' is {seven} in .*a, {eight} in .*b"
    with pytest.raises(ModelError, match=message):
        mix(a, b, 0.5, tmp_path / "out")


def test_folders_without_whole_safetensors_are_refused(make: Make):
    a, none, torn, empty = make("a", W), make("none", W), make("torn", W), make("empty", W)
    (none / "model.safetensors").rename(none / "pytorch_model.bin")
    whole = (torn / "model.safetensors").read_bytes()
    (torn / "model.safetensors").write_bytes(whole[:-4])
    shard(empty, {"x.safetensors": ["w"]})
    (empty / "x.safetensors").unlink()

    with pytest.raises(ModelError, match=r"none has neither model\.safetensors nor model\.safetensors\.index\.json"):
        check(a, none)
    with pytest.raises(ModelError, match=r"torn/model\.safetensors cannot be read as safetensors"):
        check(torn, a)
    with pytest.raises(ModelError, match=r"x\.safetensors cannot be read as safetensors"):
        check(a, empty)
    (empty / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match="holds no JSON object"):
        check(a, empty)
    (empty / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ModelError, match="has no weight_map"):
        check(a, empty)


@pytest.mark.parametrize("ratio", [float("nan"), float("inf")])
def test_a_ratio_that_is_not_finite_is_refused(make: Make, tmp_path: Path, ratio: float):
    with pytest.raises(SettingsError, match="a ratio must be a finite number"):
        mix(make("a", W), make("b", W), ratio, tmp_path / "out")


def test_a_folder_with_files_is_never_written_over(make: Make):
    a, b = make("a", W), make("b", W)
    before = (a / "model.safetensors").read_bytes()

    with pytest.raises(ModelError, match="holds files already"):
        mix(a, b, 0.5, a)
    assert (a / "model.safetensors").read_bytes() == before
