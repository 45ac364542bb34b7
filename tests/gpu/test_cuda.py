"""The same invariants on a CUDA device; skipped where there is none."""

import pytest
import torch

from inward import models
from inward.batch import SIGNALS
from inward.models import ModelSettings
from inward.sample import SamplingSettings, sample
from inward.score.by_model import forward_signals
from inward.types import Prompt

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

PROMPTS = [Prompt(id="a", text="Q:1+2?\nA:"), Prompt(id="b", text="Q:9-4*7+2?\nA:")]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.15)])
def test_recorded_signals_equal_a_forward_pass(tiny_model, dtype, tolerance):
    policy = models.load(tiny_model, ModelSettings(device="cuda", dtype=dtype))
    settings = SamplingSettings(strategy="both", group_size=8, num_branches=4, max_completion_tokens=16)
    for group in sample(PROMPTS, policy, settings.params(policy, 0)):
        for trace, other in zip(group.traces, forward_signals(group.traces, policy), strict=True):
            for name in SIGNALS:
                assert getattr(trace.signals, name) == pytest.approx(getattr(other, name), abs=tolerance), name
