"""Prompts in, groups of traces out."""

from inward.sample.endpoint import read_key
from inward.sample.local import check_prompts, refuse_long, sample
from inward.sample.probe import probe
from inward.sample.server import serving
from inward.settings import SamplingSettings, ServerSettings

__all__ = [
    "SamplingSettings",
    "ServerSettings",
    "check_prompts",
    "probe",
    "read_key",
    "refuse_long",
    "sample",
    "serving",
]
