"""Prompts in, groups of traces out."""

from inward.sample.endpoint import read_key
from inward.sample.local import check_prompts, refuse_long, sample
from inward.sample.probe import probe
from inward.sample.ray import Work, check_ray, sample_shards
from inward.sample.server import serving
from inward.settings import RaySettings, SamplingSettings, ServerSettings

__all__ = [
    "RaySettings",
    "SamplingSettings",
    "ServerSettings",
    "Work",
    "check_prompts",
    "check_ray",
    "probe",
    "read_key",
    "refuse_long",
    "sample",
    "sample_shards",
    "serving",
]
