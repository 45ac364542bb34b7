"""Post-train a language model on its own confidence."""

__version__ = "0.1.0"
