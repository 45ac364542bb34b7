"""Post-train a language model on its own confidence.

The nouns stand here: records, settings, errors. The verbs are functions of the stage they belong to, and each stage is
a module: `inward.sample.sample`, `inward.score.score`, `inward.rank.pairs`, `inward.train.preference`. A function named
like its module cannot stand beside it under one name. Everything is imported when first used, so `import inward` loads
neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inward import answers, calibration, confidence, evaluate, models, organism, rank, sample, score, signals, train
    from inward.answers import AnswerSettings
    from inward.confidence import CONFIDENCE
    from inward.errors import DataError, InwardError, ModelError, NoPairsError, RunFolderError, SettingsError
    from inward.models import Policy, load
    from inward.rank import PairSettings
    from inward.runs import RunFolder
    from inward.settings import LoraSettings, ModelSettings, PreferenceSettings, SamplingSettings
    from inward.types import (
        Choice,
        Estimate,
        EvalItem,
        EvalReport,
        FinishReason,
        Manifest,
        Message,
        Outcome,
        PreferencePair,
        Problem,
        Prompt,
        SamplingParams,
        ScoredGroup,
        ScoredTrace,
        Source,
        Span,
        Trace,
        TraceGroup,
        TraceSignals,
    )

__version__ = "0.1.0"

__all__ = [
    "CONFIDENCE",
    "AnswerSettings",
    "Choice",
    "DataError",
    "Estimate",
    "EvalItem",
    "EvalReport",
    "FinishReason",
    "InwardError",
    "LoraSettings",
    "Manifest",
    "Message",
    "ModelError",
    "ModelSettings",
    "NoPairsError",
    "Outcome",
    "PairSettings",
    "Policy",
    "PreferencePair",
    "PreferenceSettings",
    "Problem",
    "Prompt",
    "RunFolder",
    "RunFolderError",
    "SamplingParams",
    "SamplingSettings",
    "ScoredGroup",
    "ScoredTrace",
    "SettingsError",
    "Source",
    "Span",
    "Trace",
    "TraceGroup",
    "TraceSignals",
    "answers",
    "calibration",
    "confidence",
    "evaluate",
    "load",
    "models",
    "organism",
    "rank",
    "sample",
    "score",
    "signals",
    "train",
]

_MODULES = (
    "answers",
    "calibration",
    "confidence",
    "evaluate",
    "models",
    "organism",
    "rank",
    "sample",
    "score",
    "signals",
    "train",
)
_HOME = {
    "answers": ("AnswerSettings",),
    "confidence": ("CONFIDENCE",),
    "errors": ("DataError", "InwardError", "ModelError", "NoPairsError", "RunFolderError", "SettingsError"),
    "models": ("Policy", "load"),
    "rank": ("PairSettings",),
    "runs": ("RunFolder",),
    "settings": ("LoraSettings", "ModelSettings", "PreferenceSettings", "SamplingSettings"),
}
"""Where the public names are defined; those that stand in no list are records of `inward.types`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    home = next((module for module, names in _HOME.items() if name in names), "types")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
