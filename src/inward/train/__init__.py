"""Training: settings to TRL's config, records to TRL's columns, a checkpoint out. The only home of TRL."""

from inward.train.preference import LoraSettings, PreferenceSettings, Training, check, preference

__all__ = ["LoraSettings", "PreferenceSettings", "Training", "check", "preference"]
