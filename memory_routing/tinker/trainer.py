"""The Tinker trainer: an adapter on a language model, on Tinker or a service that speaks its protocol."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from tinker_cookbook.exceptions import TinkerCookbookError
from tinker_cookbook.hyperparam_utils import get_lr

from memory_routing.dataset import Dataset
from memory_routing.errors import TrainingError
from memory_routing.files import write_whole
from memory_routing.frozen import plain
from memory_routing.reward import RewardFn, RoutingReward
from memory_routing.runs import CHECKPOINTS, TAXONOMY, RunFolder, read_rows
from memory_routing.selection import released
from memory_routing.taxonomy import Taxonomy
from memory_routing.tinker.config import TinkerConfig
from memory_routing.tinker.constant import best_constant
from memory_routing.tinker.cost import PRICES, Prices
from memory_routing.tinker.forecast import Forecast, forecast
from memory_routing.tinker.job import Job, Sink
from memory_routing.tinker.preparation import prepare, spaced
from memory_routing.tinker.reinforcement import reinforce
from memory_routing.tinker.renderer import CookbookRenderer, load_tokenizer, renderer_for
from memory_routing.tinker.service import Service, ServiceError
from memory_routing.tinker.supervised import fine_tune
from memory_routing.trainer import Checkpoint, Trainer

__all__ = ["TinkerTrainer"]


@final
class TinkerTrainer(Trainer):
    """Supervised fine-tuning, then reinforcement learning, of a LoRA adapter through the `tinker` SDK.

    `base_url` and `api_key` default to the SDK's own settings. `tokenizer` is a folder or a name on the hub, where the
    base model's name does not lead to its tokenizer. `prices` are USD for a million tokens, Tinker's
    where they are known; `budget` in USD ends the run at a checkpoint before it is overspent. `timeout` is for
    one call, in seconds. Neither of these is part of the run: a killed run can go on with others.
    """

    def __init__(
        self,
        config: TinkerConfig | None = None,
        *,
        reward: RewardFn | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        tokenizer: str | Path | None = None,
        timeout: float = 900.0,
        prices: Prices | None = None,
        budget: float | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self.config = TinkerConfig() if config is None else config
        self.reward = RoutingReward() if reward is None else reward
        self.prices = PRICES.get(self.config.base_model) if prices is None else prices
        if budget is not None and self.prices is None:
            raise TrainingError(f"a budget needs prices, and none are known for {self.config.base_model}: name them")
        self.budget, self.sinks = budget, tuple(sinks)
        self._address = {"base_url": base_url, "api_key": api_key}
        self._tokenizer, self._timeout = tokenizer, timeout

    def fit(self, train: Dataset, validation: Dataset, run_dir: Path) -> Checkpoint:
        """Train, and return the checkpoint that does best on the validation data.

        The run folder has `config.json`, `taxonomy.toml`, `metrics.jsonl`, `samples.jsonl` and `checkpoints.jsonl`;
        calling again with the same settings goes on after the last checkpoint. Raises `TrainingError`: for a model that
        is not served, a service that fails or is silent for too long, a watch that fires, a budget that ends, or a full
        disk.
        """
        service, finished, job = Service(**self._address, timeout=self._timeout), False, None
        try:
            job = self._start(service, run_dir, train, validation)
            fine_tune(job)
            if self.config.rl is not None:
                reinforce(job, self.config.rl)
            finished = True
        except ServiceError as error:
            raise TrainingError(f"{error}; {_way_on(run_dir)}") from None
        except TrainingError as error:
            if job is None:
                raise
            raise TrainingError(f"{error}; {_way_on(run_dir)}") from None
        except OSError as error:
            raise _unwritten(run_dir, error) from None
        finally:
            service.close(finished=finished)
        return released(job.checkpoints)

    def forecast(self, train: Dataset, validation: Dataset) -> Forecast:
        """What a run would use and cost, without sending anything."""
        renderer = self._renderer(train.taxonomy)
        prepared = prepare(train, renderer, "training")
        held = spaced(prepare(validation, renderer, "validation").items, self.config.validation)
        return forecast(self.config, prepared, held, self.prices)

    def _identity(self, renderer: str, rate: float, train: Dataset, validation: Dataset) -> dict[str, Any]:
        """What makes a run another run: also what was looked up, lest it change between a kill and a new start."""
        reward = self.reward
        return {
            "trainer": "tinker",
            **plain(self.config),
            "renderer": renderer,
            "learning_rate": rate,
            "reward": {
                "name": type(reward).__name__,
                "weights": dict(reward.weights),
                "malformed": reward.malformed,
            },
            "taxonomy": train.taxonomy.hash,
            "train": train.hash,
            "validation_data": validation.hash,
        }

    def _renderer(self, taxonomy: Taxonomy) -> CookbookRenderer:
        tokenizer = load_tokenizer(self._tokenizer or self.config.base_model)
        return CookbookRenderer(taxonomy, tokenizer, renderer_for(self.config.base_model, self.config.renderer))

    def _start(self, service: Service, run_dir: Path, train: Dataset, validation: Dataset) -> Job:
        config = self.config
        if train.taxonomy != validation.taxonomy:
            raise TrainingError("training and validation data have different taxonomies")
        served = service.models()
        if config.base_model not in served:
            raise TrainingError(f"{config.base_model} is not served; these models are: {', '.join(sorted(served))}")
        longest = served[config.base_model]
        renderer = self._renderer(train.taxonomy)
        # Room for a sampled answer, which may be longer than the right one.
        room = None if longest is None else longest - config.max_tokens
        prepared, held = prepare(train, renderer, "training", room), prepare(validation, renderer, "validation", room)
        for name, part in (("training", prepared), ("validation", held)):
            if part.too_long:
                warnings.warn(
                    f"{len(part.too_long)} {name} conversations are longer than the {room} tokens that the model takes "
                    f"and are left out, the first is {part.too_long[0]}",
                    stacklevel=3,
                )
        rate = learning_rate(config)
        # Not before everything was looked up: a folder made with mistakes would refuse the run without them.
        folder = RunFolder(run_dir, self._identity(renderer.name, rate, train, validation))
        job = Job(
            config=config,
            learning_rate=rate,
            folder=folder,
            service=service,
            renderer=renderer,
            reward=self.reward,
            train=prepared.items,
            validation=spaced(held.items, config.validation),
            dataset_hash=train.hash,
            longest=longest,
            prices=self.prices,
            budget=self.budget,
            sinks=self.sinks,
        )
        write_whole(folder.path / TAXONOMY, train.taxonomy.to_toml().encode())
        job.go_on()
        if not job.metrics:
            known = {item.labels.names: item.labels for item in job.train}
            constant = best_constant(self.reward, list(known.values()), [item.labels for item in job.validation])
            told = {"data/train": prepared.counts(), "data/validation": held.counts(), "renderer": renderer.name}
            job.log("sft", 0, {**told, **constant})
        return job


def learning_rate(config: TinkerConfig) -> float:
    """The configured rate, or the cookbook's for the base model. Raises `TrainingError` where it has none."""
    if config.sft.learning_rate is not None:
        return config.sft.learning_rate
    try:
        return float(get_lr(config.base_model))
    except (TinkerCookbookError, NotImplementedError, KeyError, ValueError, OSError):
        raise TrainingError(
            f"the cookbook knows no learning rate for {config.base_model}: name one (sft.learning_rate)"
        ) from None


def _unwritten(run_dir: Path, error: OSError) -> TrainingError:
    return TrainingError(f"{run_dir} cannot be written: {error.strerror or error}; {_way_on(run_dir)}")


def _way_on(run_dir: Path) -> str:
    rows = read_rows(run_dir, CHECKPOINTS)
    if not rows:
        return f"{run_dir} has no checkpoint yet: the same call starts anew"
    return (
        f"the last checkpoint in {run_dir} is {rows[-1]['phase']} step {rows[-1]['step']}: the same call goes on there"
    )
