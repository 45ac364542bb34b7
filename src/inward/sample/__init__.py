"""Prompts in, groups of traces out."""

from inward.sample.endpoint import ServerSettings, read_key
from inward.sample.local import SamplingSettings, check_prompts, refuse_long, sample
from inward.sample.probe import probe
from inward.sample.server import check_served, serving

__all__ = [
    "SamplingSettings",
    "ServerSettings",
    "check_prompts",
    "check_served",
    "probe",
    "read_key",
    "refuse_long",
    "sample",
    "serving",
]
