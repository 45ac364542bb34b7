"""Prompts in, groups of traces out."""

from inward.sample.local import SamplingSettings, check_prompts, refuse_long, sample
from inward.sample.probe import probe

__all__ = ["SamplingSettings", "check_prompts", "probe", "refuse_long", "sample"]
