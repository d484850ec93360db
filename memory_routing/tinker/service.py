"""The service that trains and samples, behind the `tinker` SDK: calls that end, and errors in plain words."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import attrs
import numpy as np
import tinker
from numpy.typing import NDArray
from tinker_cookbook.weights import download

from memory_routing.datums import AlignedDatum
from memory_routing.tinker.config import Adam
from memory_routing.tinker.cost import Tokens
from memory_routing.trainer import SamplerWeights, TrainingState

__all__ = ["Learner", "Rollout", "Sampler", "Service", "ServiceError", "Step", "to_datum"]

Floats = NDArray[np.float32]
T = TypeVar("T")

_LOCAL: Final = ("127.0.0.1", "localhost")
_LOCAL_KEY: Final = "tml-local"
_FIRST_CONTACT: Final = 60.0
"""Seconds in which a service that is there answers."""
_CLOSING: Final = 10.0
_ATTEMPTS: Final = 3
"""At a name for a checkpoint: one may be there already, from a request that arrived although its answer was lost."""


class ServiceError(Exception):
    """A call that failed, in one sentence. Trainer and router turn it into their own errors."""


class NameTakenError(ServiceError):
    """A checkpoint of this name exists."""


class _Pending(Protocol[T]):
    def future(self) -> Future[T]: ...


@attrs.frozen
class Rollout:
    """Tokens sampled after a prompt, with the sampler's logprob of each, stop included, and why they ended."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    complete: bool
    """Whether a stop was reached; otherwise the answer was cut by length."""


class Service:
    """A connection. `timeout` is how many seconds one call may take, retries of the SDK included.

    Without `base_url` and `api_key` the SDK's own settings count (`TINKER_BASE_URL`, `TINKER_API_KEY`). A service on
    this machine needs no key. `spent` counts the tokens of all calls.
    """

    def __init__(self, base_url: str | None = None, api_key: str | None = None, timeout: float = 900.0) -> None:
        self.timeout, self._base_url = timeout, base_url
        self.spent = Tokens()
        url = base_url or os.environ.get("TINKER_BASE_URL", "")
        if api_key is None and "TINKER_API_KEY" not in os.environ and urlsplit(url).hostname in _LOCAL:
            api_key = _LOCAL_KEY
        self._key = api_key or os.environ.get("TINKER_API_KEY")
        self._api_key = api_key
        _redact(self._key)
        self._client = tinker.ServiceClient(base_url=base_url, api_key=api_key)

    def close(self, *, finished: bool) -> None:
        """End the session; what the service says to that changes nothing."""

        def end() -> None:
            self._client.close("success" if finished else "interrupted").future().result()

        with contextlib.suppress(Exception):
            _apart(end).result(min(_CLOSING, self.timeout))

    def models(self) -> dict[str, int | None]:
        """The base models that are served, with the tokens of their context."""

        def ask() -> _Pending[Any]:
            return tinker.RestClient(base_url=self._base_url, api_key=self._api_key).get_server_capabilities()

        served = self._call(ask, "asking for the models that are served", _FIRST_CONTACT).supported_models
        return {model.model_name: model.max_context_length for model in served if model.model_name}

    def new(self, base_model: str, rank: int, seed: int) -> Learner:
        """A fresh adapter on a base model."""

        def create() -> _Pending[tinker.TrainingClient]:
            return self._client.create_lora_training_client(base_model=base_model, rank=rank, seed=seed)

        return Learner(self, self._call(create, f"creating a trainer of {base_model}"))

    def resume(self, state: TrainingState) -> Learner:
        """Training goes on from a state, with its optimiser."""

        def load() -> _Pending[tinker.TrainingClient]:
            return self._client.create_training_client_from_state_with_optimizer(state)

        return Learner(self, self._call(load, f"loading {state}"))

    def sampler(self, *, weights: SamplerWeights | None = None, base_model: str | None = None) -> Sampler:
        """A sampler of saved weights, or of a base model."""

        def load() -> _Pending[tinker.SamplingClient]:
            return self._client.create_sampling_client(model_path=weights, base_model=base_model)

        return Sampler(self, self._call(load, f"loading {weights or base_model}"))

    def download(self, state: TrainingState, folder: Path) -> None:
        """Fetch the adapter of a saved state to a folder."""
        # The cookbook's download finds its key in the environment alone.
        before = os.environ.get("TINKER_API_KEY")
        if self._key is not None:
            os.environ["TINKER_API_KEY"] = self._key

        def fetch() -> str:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return download(tinker_path=state, output_dir=str(folder), base_url=self._base_url)

        try:
            self._result(_apart(fetch), f"fetching {state}", None)
        finally:
            if before is None:
                os.environ.pop("TINKER_API_KEY", None)
            else:
                os.environ["TINKER_API_KEY"] = before

    def wait(self, pending: _Pending[T], what: str, timeout: float | None = None) -> T:
        """The answer to a call. Raises `ServiceError` that says what failed."""
        return self._result(pending.future(), what, timeout)

    def _call(self, start: Callable[[], _Pending[T]], what: str, timeout: float | None = None) -> T:
        """The answer to a call of the client, which connects before it returns, and tries that for minutes."""
        return self.wait(self._result(_apart(start), what, timeout), what, timeout)

    def _result(self, future: Future[T], what: str, timeout: float | None) -> T:
        limit = min(self.timeout, timeout or self.timeout)
        with self._words(what):
            try:
                return future.result(limit)
            except TimeoutError:
                future.cancel()
                raise ServiceError(f"{what}: no answer within {limit:g} seconds") from None

    @contextlib.contextmanager
    def _words(self, what: str) -> Iterator[None]:
        """Turn what the SDK raises into one sentence."""
        try:
            yield
        except ServiceError:
            raise
        except Exception as error:  # the SDK's own, httpx's, and bare ones of Python's
            words = self._in_words(error)
            taken = isinstance(error, tinker.ConflictError) or "already exists" in words
            raise (NameTakenError if taken else ServiceError)(f"{what}: {words}") from None

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, tinker.AuthenticationError) or "api_key" in str(error):
            return "the service refused the key; set TINKER_API_KEY to a valid one"
        if isinstance(error, tinker.RequestFailedError):
            text = str(error.args[0] if error.args else error)
        else:
            text = str(error) or type(error).__name__
        text = text.replace(self._key, "…") if self._key else text
        return " ".join(text.split())


@attrs.frozen
class Step:
    """A forward-backward pass and an optimiser step that were submitted and not yet waited for."""

    service: Service
    passed: _Pending[Any]
    stepped: _Pending[Any]

    def wait(self) -> list[Floats]:
        """The learner's logprobs before the step, `(T,)` for each datum."""
        output = self.service.wait(self.passed, "forward-backward")
        self.service.wait(self.stepped, "optimiser step")
        return _logprobs(output)


class Learner:
    """The weights that are trained."""

    def __init__(self, service: Service, client: tinker.TrainingClient) -> None:
        self.service, self._client = service, client

    def submit(
        self,
        datums: Sequence[tinker.Datum],
        loss: str,
        learning_rate: float,
        adam: Adam,
        loss_config: Mapping[str, float] | None = None,
    ) -> Step:
        """Send a forward-backward pass and the optimiser step after it, and wait for neither."""
        params = tinker.AdamParams(learning_rate=learning_rate, **attrs.asdict(adam))
        self._count(datums)
        passed = self._client.forward_backward(list(datums), loss, dict(loss_config) if loss_config else None)  # type: ignore[arg-type]
        return Step(self.service, passed, self._client.optim_step(params))

    def forward(self, datums: Sequence[tinker.Datum]) -> list[Floats]:
        """Logprobs `(T,)` of each supervised datum; weights and gradients stay as they are."""
        self._count(datums)
        return _logprobs(self.service.wait(self._client.forward(list(datums), "cross_entropy"), "forward pass"))

    def snapshot(self) -> Sampler:
        """A sampler of the weights as they are now."""
        pending = self._client.save_weights_and_get_sampling_client()
        return Sampler(self.service, self.service.wait(pending, "taking a snapshot"))

    def save(self, name: str) -> tuple[TrainingState, SamplerWeights]:
        """Save the resumable state and the weights for sampling, under a name that nothing else has."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._save(f"{name}-{secrets.token_hex(4)}")
            except NameTakenError:
                continue
        return self._save(f"{name}-{secrets.token_hex(4)}")

    def _save(self, name: str) -> tuple[TrainingState, SamplerWeights]:
        state, weights = self._client.save_state(name), self._client.save_weights_for_sampler(name)
        what = f"saving {name}"
        return (
            TrainingState(self.service.wait(state, what).path),
            SamplerWeights(self.service.wait(weights, what).path),
        )

    def _count(self, datums: Sequence[tinker.Datum]) -> None:
        self.service.spent += Tokens(train=sum(datum.model_input.length for datum in datums))


class Sampler:
    """Weights that answers are sampled from."""

    def __init__(self, service: Service, client: tinker.SamplingClient) -> None:
        self.service, self._client = service, client

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        stop: Sequence[str] | Sequence[int],
        max_tokens: int,
        temperature: float,
        samples: int = 1,
        seeds: Sequence[int] | None = None,
    ) -> Iterator[list[Rollout]]:
        """`samples` rollouts of each prompt: all are asked for at once, and come in order."""
        pending = []
        for index, prompt in enumerate(prompts):
            params = tinker.SamplingParams(
                max_tokens=max_tokens,
                temperature=temperature,
                stop=list(stop),  # type: ignore[arg-type]
                seed=None if seeds is None else seeds[index],
            )
            pending.append(self._client.sample(tinker.ModelInput.from_ints(list(prompt)), samples, params))
        return self._groups(prompts, pending)

    def _groups(self, prompts: Sequence[Sequence[int]], pending: Sequence[_Pending[Any]]) -> Iterator[list[Rollout]]:
        for prompt, future in zip(prompts, pending, strict=True):
            answer = self.service.wait(future, "sampling")
            group = [_rollout(sequence) for sequence in answer.sequences]
            sampled = sum(len(rollout.tokens) for rollout in group)
            self.service.spent += Tokens(prefill=len(prompt) * len(group), sample=sampled)
            yield group

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[Floats]:
        """Logprob of every token but the first, `(T - 1,)` for each sequence of T tokens."""
        pending = [self._client.compute_logprobs(tinker.ModelInput.from_ints(list(tokens))) for tokens in sequences]
        self.service.spent += Tokens(prefill=sum(map(len, sequences)))
        return [np.array(self.service.wait(item, "computing logprobs")[1:], dtype=np.float32) for item in pending]


def to_datum(aligned: AlignedDatum) -> tinker.Datum:
    """A datum of the SDK. The mask stays here: the service knows weights for one loss, advantages for the others."""
    inputs: dict[str, Any] = {"target_tokens": aligned.targets}
    if aligned.advantages is None:
        inputs["weights"] = aligned.mask
    else:
        inputs |= {"logprobs": aligned.logprobs, "advantages": aligned.advantages}
    return tinker.Datum(model_input=tinker.ModelInput.from_ints(aligned.inputs.tolist()), loss_fn_inputs=inputs)


def _apart(call: Callable[[], T]) -> Future[T]:
    """The result of a call that may block for longer than anybody waits, in a thread of its own."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised by who waits
            future.set_exception(error)

    threading.Thread(target=run, name="tinker", daemon=True).start()
    return future


class _Redaction(logging.Filter):
    """Takes keys out of what is logged."""

    keys: Final[set[str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        for key in self.keys:
            if key in text:
                text = text.replace(key, "…")
                record.msg, record.args = text, ()
        return True


_REDACTION: Final = _Redaction()


def _redact(key: str | None) -> None:
    """Keep a key out of the SDK's log, which quotes answers that a service may have put the key in."""
    if key:
        _REDACTION.keys.add(key)
    # A filter holds for its own logger and not for those below.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "tinker":
            logging.getLogger(name).addFilter(_REDACTION)


def _logprobs(output: Any) -> list[Floats]:
    return [np.asarray(item["logprobs"].to_numpy(), dtype=np.float32) for item in output.loss_fn_outputs]


def _rollout(sequence: Any) -> Rollout:
    return Rollout(tuple(sequence.tokens), tuple(sequence.logprobs), sequence.stop_reason == "stop")
