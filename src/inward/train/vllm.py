"""Traces that vLLM writes while a policy trains (TRL's `use_vllm`): what is refused beforehand, and what is logged.

vLLM draws tokens and nothing more. Rewards and monitors come from a forward pass of the policy itself (`train.reward`):
an engine of other kernels has log-probabilities a little off, and of the whole distribution, which entropy and
self-certainty need, it says nothing. How far off it is, TRL logs; here that has a name of ours.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from inward.errors import ServerError, SettingsError
from inward.parsing import parse_json

MISMATCH = {
    "sampling/sampling_logp_difference/mean": "engine_mismatch",
    "sampling/sampling_logp_difference/max": "engine_mismatch_max",
    "sampling/importance_sampling_ratio/mean": "engine_weight",
}
"""What TRL's GRPO logs of vLLM's tokens, and what it is called in docs/metrics.md."""

OF_SERVER = ("vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_server_timeout", "vllm_group_port")
OF_COLOCATE = {
    "vllm_gpu_memory_utilization": "--gpu-memory-utilization",
    "vllm_tensor_parallel_size": "--tensor-parallel-size",
    "vllm_max_model_length": "--max-model-len",
    "vllm_model_impl": "--model-impl",
    "vllm_enable_sleep_mode": None,
}
"""Fields that TRL reads in colocate mode alone, with the flag of `vllm serve` that has its place in server mode."""

CORRECTIONS = ("sequence_mask", "sequence_truncate", "token_mask", "token_truncate")
"""Values of `vllm_importance_sampling_mode`; TRL refuses others only after the first traces."""

DRAWN_BY_METHOD = ("n", "temperature", "top_p", "top_k", "max_tokens", "logprobs")
"""Of `generation_kwargs`, which go over everything else that vLLM is told."""

SERVE = 'VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' --logprobs-mode processed_logprobs'  # noqa: E501
PAUSE = 2.0
"""Seconds between two looks for a server."""
REPLY_SECONDS = 10.0


def mode(trl: Mapping[str, Any] | None) -> str | None:
    """`server` or `colocate` where vLLM writes the traces; None where the policy does itself."""
    given = trl or {}
    return str(given.get("vllm_mode", "colocate")) if given.get("use_vllm") else None


def named(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a step, with those of vLLM under their names here as well."""
    return {**metrics, **{ours: metrics[theirs] for theirs, ours in MISMATCH.items() if theirs in metrics}}


def check_vllm(
    trl: Mapping[str, Any] | None, args: Any, *, device: str, processes: int, heads: int | None = None
) -> None:
    """Refuse what vLLM or TRL would refuse once the model is loaded, or would pass over without a word.

    Args:
        trl: the fields that the user set.
        args: TRL's configuration made of them.
        device: type of the training's device.
        processes: that train together.
        heads: attention heads of the model, where they are known.

    Raises:
        SettingsError: with what to do instead.
    """
    given = {key: value for key, value in (trl or {}).items() if key.startswith("vllm_")}
    if mode(trl) is None:
        if given:
            raise SettingsError(f"trl.{min(given)} does nothing unless vLLM writes the traces: set trl.use_vllm=true")
        return
    if args.vllm_mode not in ("server", "colocate"):
        raise SettingsError(f"trl.vllm_mode is server or colocate, got {args.vllm_mode}")
    if device != "cuda":
        raise SettingsError(
            f"trl.use_vllm: vLLM gets the policy's weights from GPU to GPU, and the device here is {device}; leave "
            "use_vllm out, or set model.device=cuda"
        )
    for needed in ("vllm", "requests") if args.vllm_mode == "server" else ("vllm",):
        found = find_spec(needed)
        # A folder `vllm` in the working directory is found too, as a package without a file.
        if found is None or found.origin is None:
            raise SettingsError(
                f"trl.use_vllm: {needed} cannot be imported here: `pip install 'trl[vllm]'`, or leave it out"
            )
    _check_mode(given, args, processes=processes, heads=heads)
    _check_drawing(args)


def _check_mode(given: Mapping[str, Any], args: Any, *, processes: int, heads: int | None) -> None:
    if args.vllm_mode == "server":
        for key in OF_COLOCATE.keys() & given.keys():
            flag = OF_COLOCATE[key]
            where = f"give {flag} to `vllm serve`" if flag else "leave it out"
            raise SettingsError(f"trl.{key} does nothing with trl.vllm_mode=server: {where}")
        _check_address(given, args)
        return
    for key in set(OF_SERVER) & given.keys():
        raise SettingsError(f"trl.{key} is of trl.vllm_mode=server, and the mode is colocate: set that, or drop it")
    size, share, longest = args.vllm_tensor_parallel_size, args.vllm_gpu_memory_utilization, args.vllm_max_model_length
    if size < 1 or processes % size:
        raise SettingsError(
            f"trl.vllm_tensor_parallel_size = {size} must divide the {processes} processes that train together"
        )
    if heads is not None and heads % size:
        raise SettingsError(
            f"trl.vllm_tensor_parallel_size = {size} must divide the {heads} attention heads of the model"
        )
    if not 0 < share < 1:
        raise SettingsError(
            f"trl.vllm_gpu_memory_utilization must lie between 0 and 1, got {share}: the policy trains on the same "
            "device"
        )
    if longest is not None and longest <= args.max_completion_length:
        raise SettingsError(
            f"trl.vllm_max_model_length = {longest} leaves no room for a prompt beside max_completion_tokens = "
            f"{args.max_completion_length}; raise it to the longest prompt and completion together"
        )


def _check_address(given: Mapping[str, Any], args: Any) -> None:
    if args.vllm_server_base_url is None:
        ports = {"vllm_server_port": args.vllm_server_port, "vllm_group_port": args.vllm_group_port}
    else:
        ports = {"vllm_group_port": args.vllm_group_port}
        for key in {"vllm_server_host", "vllm_server_port"} & given.keys():
            raise SettingsError(f"trl.{key} does nothing beside trl.vllm_server_base_url: give one of the two")
        try:
            parts = urlsplit(args.vllm_server_base_url)
            plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise SettingsError("trl.vllm_server_base_url is no URL: give one like http://127.0.0.1:8000") from None
        if parts.username is not None or parts.password is not None or parts.query:
            raise SettingsError("trl.vllm_server_base_url carries a user or a key, which would stand in the manifest")
        if not plain or parts.path.rstrip("/").endswith("/v1"):
            raise SettingsError(
                f"trl.vllm_server_base_url = {args.vllm_server_base_url} is no address that TRL can use: give scheme, "
                "host and port without /v1, as in http://127.0.0.1:8000"
            )
    for key, port in ports.items():
        if not 0 < port < 65536:
            raise SettingsError(f"trl.{key} must be a port from 1 to 65535, got {port}")
    if len(set(ports.values())) < len(ports):
        raise SettingsError("trl.vllm_group_port carries the weights and must differ from trl.vllm_server_port")
    if not args.vllm_server_timeout > 0:
        raise SettingsError(f"trl.vllm_server_timeout must be above 0 seconds, got {args.vllm_server_timeout}")


def _check_drawing(args: Any) -> None:
    """What vLLM is told besides, and what TRL does where its log-probabilities are off."""
    for key in set(DRAWN_BY_METHOD) & (args.generation_kwargs or {}).keys():
        raise SettingsError(
            f"trl.generation_kwargs.{key} is set by inward: a trace is drawn from the distribution that is scored"
        )
    if not hasattr(args, "vllm_importance_sampling_mode"):
        warnings.warn(
            "TRL's RLOO drops vLLM's log-probabilities: how far they are from the policy's is neither corrected nor "
            "logged; the estimator grpo does both",
            stacklevel=4,
        )
    elif args.vllm_importance_sampling_mode not in CORRECTIONS:
        raise SettingsError(
            f"trl.vllm_importance_sampling_mode is one of {', '.join(CORRECTIONS)}, got "
            f"{args.vllm_importance_sampling_mode}"
        )


def address(args: Any) -> str:
    """Where TRL looks for the server."""
    return (args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}").rstrip("/")


def await_server(args: Any) -> None:
    """Wait for the server of `vllm_mode=server`, up to `vllm_server_timeout`, and look at how it was started.

    TRL connects once the model is loaded; this can be asked before anything is. The first process asks for all.

    Raises:
        ServerError: none answers, or it was started without what TRL needs of it.
    """
    if not args.use_vllm or args.vllm_mode != "server" or os.environ.get("RANK", "0") != "0":
        return
    url, end = address(args), time.monotonic() + args.vllm_server_timeout
    while not _answers(f"{url}/health"):
        if time.monotonic() + PAUSE > end:
            raise ServerError(
                f"no vLLM server answers at {url} within {args.vllm_server_timeout:g} s (trl.vllm_server_timeout): "
                f"start one with `{SERVE}`, or set trl.vllm_server_base_url"
            )
        time.sleep(PAUSE)
    _check_served(url, args)


def _check_served(url: str, args: Any) -> None:
    try:
        said = parse_json(_get(f"{url}/server_info?config_format=json"))["vllm_config"]
        transfer = said.get("weight_transfer_config")
        logprobs, longest = said["model_config"]["logprobs_mode"], said["model_config"].get("max_model_len")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise ServerError(f"the vLLM server at {url} answers /server_info with {error.code}") from error
        raise ServerError(
            f"the vLLM server at {url} takes no weights from a training: start it anew with `{SERVE}`"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ServerError(
            f"the vLLM server at {url} does not say how it was started ({type(error).__name__} at /server_info): TRL "
            "knows vLLM 0.22 to 0.31"
        ) from error
    if transfer is None:
        raise ServerError(f"the vLLM server at {url} has no --weight-transfer-config: start it anew with `{SERVE}`")
    if getattr(args, "vllm_importance_sampling_correction", False) and logprobs != "processed_logprobs":
        raise ServerError(
            f"the vLLM server at {url} gives {logprobs}, which TRL would take for those of the sampling temperature: "
            "start it anew with --logprobs-mode processed_logprobs"
        )
    if longest is not None and longest <= args.max_completion_length:
        raise ServerError(
            f"the vLLM server at {url} was started with --max-model-len {longest}, which leaves no room for a prompt "
            f"beside max_completion_tokens = {args.max_completion_length}"
        )


def _answers(url: str) -> bool:
    try:
        _get(url)
    except (OSError, ValueError):
        return False
    return True


def _get(url: str) -> bytes:
    """The body of a reply; no proxy is asked, since TRL and the server are in one network."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=REPLY_SECONDS) as reply:
        return reply.read()
