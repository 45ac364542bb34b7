"""Endpoints that serve the start model, and how they are asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from inward.errors import SettingsError
from inward.settings.measures import FULL_DISTRIBUTION, OPTION_MEASURES


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Completions endpoints that all serve the start model, and how they are asked."""

    endpoints: tuple[str, ...] = ()
    """Base addresses, as in `http://127.0.0.1:8000/v1`."""
    model: str | None = None
    """Name under which the model is served; None: the only one that the endpoint lists."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None: no key is sent."""
    concurrency: int = 32
    """Requests under way at once at each endpoint."""
    timeout_seconds: float = 300.0
    """For a whole reply; also the longest `Retry-After` that is waited for."""
    retries: int = 6
    """Further attempts at a request after one that failed."""
    backoff_seconds: float = 1.0
    """Pause after the first failure, doubled after each further one, and shortened at random by up to a half."""
    rescore: bool = False
    """Whether a forward pass of the local model gives the signals, in place of the server's log-probabilities."""

    def __post_init__(self) -> None:
        for url in self.endpoints:
            _check_url(url)
        if len(set(self.endpoints)) < len(self.endpoints):
            raise SettingsError("endpoints: one is given twice; raise concurrency instead")
        if self.api_key_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.api_key_env):
            # Not repeated here: it may be the key itself.
            raise SettingsError(
                "api_key_env is the name of an environment variable in capitals, as in VLLM_API_KEY; never the key"
            )
        if self.concurrency < 1 or self.retries < 0:
            raise SettingsError("concurrency must be at least 1 and retries at least 0")
        if not self.timeout_seconds > 0 or self.backoff_seconds < 0:
            raise SettingsError("timeout_seconds must be above 0 and backoff_seconds at least 0")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise SettingsError("endpoints: an address is no URL; give one like http://127.0.0.1:8000/v1") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise SettingsError(
            f"endpoints: the address of {parts.hostname} carries a user, a key or a query, which would stand in the "
            "manifest; put the key into an environment variable and name that in api_key_env"
        )
    if not known:
        raise SettingsError(f"endpoints: {url!r} is no address of a server; give one like http://127.0.0.1:8000/v1")


def check_served(settings: ServerSettings, confidence: str) -> None:
    """Refuse, before any request, what endpoints cannot give.

    Raises:
        SettingsError: There is no endpoint, or the confidence needs the full distribution.
    """
    if not settings.endpoints:
        raise SettingsError("engine=server has no endpoint; give one, as in --endpoint http://127.0.0.1:8000/v1")
    if confidence in (*FULL_DISTRIBUTION, *OPTION_MEASURES) and not settings.rescore:
        raise SettingsError(
            f"confidence={confidence} needs the probability of every token of the vocabulary, and a server sends only "
            "the most probable ones; set server.rescore=true to compute it here by a forward pass, or "
            "confidence=answer_disparity"
        )
