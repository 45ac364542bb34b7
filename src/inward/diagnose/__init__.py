"""Judge a training by what it shows of itself: monitors and probes in, a checkpoint to keep and findings out."""

from inward.diagnose.findings import findings
from inward.diagnose.history import History, history
from inward.diagnose.monitors import Sight, monitors
from inward.diagnose.rule import Decision, Probe, StopSettings, decide, support, votes

__all__ = [
    "Decision",
    "History",
    "Probe",
    "Sight",
    "StopSettings",
    "decide",
    "findings",
    "history",
    "monitors",
    "support",
    "votes",
]
