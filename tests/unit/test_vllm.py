"""What is refused before vLLM writes a trace, the wait for its server, and the names of what TRL logs of it."""

import importlib.machinery
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inward.errors import ServerError, SettingsError
from inward.models import ModelSettings
from inward.train import GroupPolicySettings, await_engine, vllm
from inward.train.group_policy import config

SMALL = {"steps": 1, "prompts_per_step": 8, "group_size": 2, "batch_rows": 2, "max_completion_tokens": 8}
CPU = ModelSettings(device="cpu")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    spec = importlib.machinery.ModuleSpec("vllm", None, origin="somewhere/vllm/__init__.py")
    monkeypatch.setattr(vllm, "find_spec", lambda name: spec)


def check(trl: dict[str, Any], device: str = "cuda", processes: int = 8, estimator: Any = "grpo") -> None:
    settings = GroupPolicySettings(trl=trl, estimator=estimator, **SMALL)
    args = config(settings, work=Path("unused"), seed=0, device="cpu")
    vllm.check_vllm(trl, args, device=device, processes=processes, heads=28)


SERVER = {"use_vllm": True, "vllm_mode": "server"}
COLOCATE = {"use_vllm": True, "vllm_mode": "colocate"}


@pytest.mark.parametrize(
    "trl",
    [
        {},
        {"use_vllm": False},
        {"use_vllm": True},
        COLOCATE | {"vllm_tensor_parallel_size": 4, "vllm_gpu_memory_utilization": 0.4, "vllm_max_model_length": 9},
        COLOCATE | {"vllm_enable_sleep_mode": True, "vllm_importance_sampling_mode": "token_truncate"},
        SERVER | {"vllm_server_base_url": "http://node7:8000"},
        SERVER | {"vllm_server_host": "node7", "vllm_server_port": 8001, "vllm_group_port": 51217},
        SERVER | {"vllm_importance_sampling_correction": False, "generation_kwargs": {"seed": 3}},
    ],
)
@pytest.mark.usefixtures("installed")
def test_what_goes_together_passes(trl: dict[str, Any]):
    check(trl)


@pytest.mark.parametrize(
    ("trl", "message"),
    [
        ({"vllm_mode": "server"}, "vllm_mode does nothing unless vLLM writes the traces"),
        ({"use_vllm": False, "vllm_importance_sampling_mode": "token_mask"}, "does nothing unless vLLM writes"),
        ({"use_vllm": True, "vllm_mode": "both"}, "server or colocate, got both"),
        (SERVER | {"vllm_gpu_memory_utilization": 0.5}, "give --gpu-memory-utilization to `vllm serve`"),
        (SERVER | {"vllm_enable_sleep_mode": True}, "vllm_mode=server: leave it out"),
        (COLOCATE | {"vllm_server_port": 8000}, "vllm_server_port is of trl.vllm_mode=server"),
        (COLOCATE | {"vllm_tensor_parallel_size": 3}, "= 3 must divide the 8 processes"),
        (COLOCATE | {"vllm_tensor_parallel_size": 8}, "= 8 must divide the 28 attention heads"),
        (COLOCATE | {"vllm_gpu_memory_utilization": 1.0}, "must lie between 0 and 1, got 1.0"),
        (COLOCATE | {"vllm_max_model_length": 8}, "leaves no room for a prompt beside max_completion_tokens = 8"),
        (SERVER | {"vllm_server_base_url": "http://a:1", "vllm_server_port": 2}, "give one of the two"),
        (SERVER | {"vllm_server_base_url": "http://me:key@a:8000"}, "carries a user or a key"),
        (SERVER | {"vllm_server_base_url": "http://a:8000/v1"}, "without /v1"),
        (SERVER | {"vllm_server_base_url": "a:8000"}, "no address that TRL can use"),
        (SERVER | {"vllm_server_base_url": "http://a:port"}, "is no URL"),
        (SERVER | {"vllm_server_port": 0}, "vllm_server_port must be a port"),
        (SERVER | {"vllm_server_port": 51216}, "must differ from trl.vllm_server_port"),
        (SERVER | {"vllm_server_timeout": 0}, "must be above 0 seconds"),
        (COLOCATE | {"generation_kwargs": {"top_k": 50}}, "generation_kwargs.top_k is set by inward"),
        (COLOCATE | {"vllm_importance_sampling_mode": "token"}, "is one of sequence_mask, sequence_truncate"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_what_contradicts_is_refused(trl: dict[str, Any], message: str):
    with pytest.raises(SettingsError, match=message):
        check(trl)


@pytest.mark.usefixtures("installed")
def test_a_truncated_distribution_is_refused_with_the_settings():
    with pytest.raises(SettingsError, match="vllm_structured_outputs_regex is set by inward"):
        GroupPolicySettings(trl=COLOCATE | {"vllm_structured_outputs_regex": "[0-9]+"})


@pytest.mark.usefixtures("installed")
def test_weights_go_from_gpu_to_gpu():
    with pytest.raises(SettingsError, match="the device here is cpu"):
        check(COLOCATE, device="cpu", processes=1)


def test_vllm_has_to_be_there(monkeypatch: pytest.MonkeyPatch):
    for found in (None, importlib.machinery.ModuleSpec("vllm", None)):  # the latter is a folder of that name
        monkeypatch.setattr(vllm, "find_spec", lambda name, found=found: found)
        with pytest.raises(SettingsError, match="vllm cannot be imported here"):
            check(COLOCATE)


@pytest.mark.usefixtures("installed")
def test_rloo_neither_corrects_nor_logs():
    with pytest.warns(UserWarning, match="RLOO drops vLLM's log-probabilities"):
        check(COLOCATE, estimator="rloo")


def test_metrics_keep_trls_names_beside_ours():
    logged = {"loss": 0.5, "sampling/sampling_logp_difference/mean": 0.25, "sampling/importance_sampling_ratio/mean": 1}
    assert vllm.named(logged) == {**logged, "engine_mismatch": 0.25, "engine_weight": 1}
    assert vllm.named({"loss": 0.5}) == {"loss": 0.5}


GOOD = {"model_config": {"logprobs_mode": "processed_logprobs", "max_model_len": 64}, "weight_transfer_config": {}}


@contextmanager
def serving(info: Any, healthy_after: int = 0) -> Iterator[str]:
    """A server that is healthy after so many questions and says that of itself; None: it has no development mode."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            known = len(asked) > healthy_after if self.path == "/health" else bool(info)
            self.send_response(200 if known else 404 if "info" in self.path else 503)
            self.end_headers()
            self.wfile.write(b"" if self.path == "/health" else json.dumps({"vllm_config": info}).encode())

        def log_message(self, format: str, *args: Any):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def engine(url: str, timeout: float = 5.0, **others: Any) -> None:
    trl = SERVER | {"vllm_server_base_url": url, "vllm_server_timeout": timeout} | others
    await_engine(GroupPolicySettings(trl=trl, **SMALL), CPU)


def test_a_server_that_comes_up_later_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vllm, "PAUSE", 0.01)
    with serving(GOOD, healthy_after=3) as url:
        engine(url)


def test_no_server_at_all_is_an_error_that_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vllm, "PAUSE", 0.01)
    with serving(GOOD) as url:
        pass
    with pytest.raises(ServerError, match=r"no vLLM server answers at .* within 0\.05 s .* vllm serve MODEL"):
        engine(url, timeout=0.05)


RAW = {**GOOD, "model_config": {"logprobs_mode": "raw_logprobs"}}


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (None, "takes no weights from a training"),
        ({**GOOD, "weight_transfer_config": None}, "has no --weight-transfer-config"),
        (RAW, "gives raw_logprobs"),
        ({**GOOD, "model_config": GOOD["model_config"] | {"max_model_len": 8}}, "--max-model-len 8"),
        ({"model_config": {}}, "does not say how it was started"),
        ("text", "does not say how it was started"),
    ],
)
def test_a_server_that_trl_could_not_work_with(info: Any, message: str):
    with serving(info) as url, pytest.raises(ServerError, match=message):
        engine(url)


def test_raw_log_probabilities_do_where_nothing_is_corrected():
    with serving(RAW) as url:
        engine(url, vllm_importance_sampling_correction=False)


def test_another_process_than_the_first_asks_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    engine("http://127.0.0.1:9", timeout=0.01)
