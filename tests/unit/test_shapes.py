"""The shapes that modules state are checked: by these tests, or by scripts/check."""

import re
import tomllib
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from inward.batch import TokenSignals
from inward.confidence import mean_logprob

ROOT = Path(__file__).parents[2]


def test_every_module_that_states_shapes_is_checked():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
    [checked] = re.findall(r"--jaxtyping-packages=(\S+)", options)
    [apart] = re.findall(r"^statistics=(\S+)$", (ROOT / "scripts/check").read_text(), re.MULTILINE)
    names = [*checked.split(",")[:-1], *apart.split(",")]
    for file in (ROOT / "src/inward").rglob("*.py"):
        if "from jaxtyping import" in file.read_text():
            module = ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
            assert any(module == name or module.startswith(f"{name}.") for name in names), module


def test_a_wrong_shape_is_refused():
    two = torch.zeros(1, 2)
    signals = TokenSignals(logprob=two, entropy=two, self_certainty=two, disparity=two, mask=two == 0)
    assert mean_logprob(signals, two == 0).tolist() == [0.0]
    with pytest.raises(TypeCheckError):
        mean_logprob(signals, torch.zeros(2, dtype=torch.bool))
