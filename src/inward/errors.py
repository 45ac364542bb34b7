"""Errors a user can meet; each is also the standard-library error a caller would expect.

    InwardError
      SettingsError (ValueError)       a setting is unknown, out of range or contradicts another
      DataError (ValueError)           a prompt file, a record or an answer is not usable
      ModelError (ValueError)          a folder is no model, or the model cannot do what is asked
      NoPairsError (ValueError)        ranking left nothing to train on
      RunFolderError (RuntimeError)    a run folder belongs to other work, is in use or is damaged
      ServerError (ConnectionError)    a server of completions, or Ray, refuses, keeps failing or cannot be used

Every message says what is wrong, where, and what to do about it.
"""


class InwardError(Exception):
    """Root of the tree: catch it to catch everything inward raises on purpose."""


class SettingsError(InwardError, ValueError):
    """A setting is unknown, out of range or contradicts another."""


class DataError(InwardError, ValueError):
    """A prompt file, a record or an answer is not usable."""


class ModelError(InwardError, ValueError):
    """A folder is no model, or the model cannot do what is asked."""


class NoPairsError(InwardError, ValueError):
    """Ranking left no preference pair to train on."""


class RunFolderError(InwardError, RuntimeError):
    """A run folder belongs to other work, is in use, or is damaged."""


class ServerError(InwardError, ConnectionError):
    """A server of completions, or a Ray cluster, refuses, keeps failing, or cannot be used."""
