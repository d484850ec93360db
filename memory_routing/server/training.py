"""What clients ask of their models in training. All of it is called by the worker, but for `get`."""

from __future__ import annotations

from typing import Any, Final

import attrs

from memory_routing.server.adapter_files import MOMENTS, WEIGHTS, adapter_files, encrypted, moments_file, read_tensors
from memory_routing.server.bases import Bases
from memory_routing.server.checkpoints import Checkpoint, Run, Store, expiry, now
from memory_routing.server.lora import LoraShape, seed_of
from memory_routing.server.memory import TRAINER_BYTES
from memory_routing.server.paths import CheckpointPath, Kind
from memory_routing.server.refusal import NotHere, Refused
from memory_routing.server.samplers import Sampler, Samplers
from memory_routing.server.trainers import AdamSettings, ModelTrainer
from memory_routing.server.wire import read_config, read_datums, read_loss, write_training

__all__ = ["Model", "Naming", "Training"]

OPTIMIZER: Final = "adamw"


@attrs.frozen(eq=False)
class Model:
    """A model in training and whose it is."""

    run: Run
    session: str
    trainer: ModelTrainer


@attrs.frozen
class Naming:
    """How a checkpoint is to be saved. `ttl` is its life in seconds, or `None` for ever."""

    name: str
    ttl: int | None = None
    overwrite: bool = False
    user_metadata: dict[str, str] | None = None


class Training:
    """The models in training, by id."""

    def __init__(self, bases: Bases, store: Store, samplers: Samplers, batch_tokens: int) -> None:
        self._bases, self._store, self._samplers = bases, store, samplers
        self._batch_tokens = batch_tokens
        self._models: dict[str, Model] = {}

    def get(self, model: str) -> Model:
        """The model with an id. Raises `NotHere` where there is none."""
        found = self._models.get(model)
        if found is None:
            raise NotHere(f"the model {model[:80]!r}")
        return found

    def create(
        self, model: str, session: str, base_model: str, shape: LoraShape, seed: int | None,
        user_metadata: dict[str, str] | None,
    ) -> Model:  # fmt: skip
        """A new model. Raises `Refused` for an unknown base model, a bad shape, or where memory is short."""
        folder = self._bases.folder(base_model)
        size = shape.parameters(folder) * TRAINER_BYTES
        base = self._bases.get(base_model)
        self._samplers.make_room(size)
        self._bases.budget.take(model, size, f"a training client of rank {shape.rank} on {base_model}")
        try:
            trainer = ModelTrainer(base, shape, seed_of(model) if seed is None else seed)
        except BaseException:
            self._bases.budget.give_back(model)
            raise
        run = Run(model, base_model, shape, now().isoformat(), user_metadata)
        self._models[model] = Model(run, session, trainer)
        return self._models[model]

    def create_from(
        self, model: str, session: str, path: str, base_model: str | None, optimizer: bool,
        user_metadata: dict[str, str] | None,
    ) -> Model:  # fmt: skip
        """A new model that goes on from a checkpoint, with or without its optimiser's state."""
        about = self._store.about(CheckpointPath.parse(path))
        if base_model not in (None, about.base_model):
            raise Refused(f"{path} is of {about.base_model}, and cannot be loaded as {base_model}")
        created = self.create(model, session, about.base_model, about.lora, 0, user_metadata)
        try:
            self.load(model, path, optimizer=optimizer)
        except BaseException:
            self.drop(model)
            raise
        return created

    def load(self, model: str, path: str, *, optimizer: bool) -> None:
        """Take weights, and the optimiser's state with them or not, from a checkpoint."""
        place = CheckpointPath.parse(path)
        if place.kind is Kind.EXTERNAL:
            raise Refused(f"{place} is an export, from which no training goes on: load one that save_state wrote")
        files = self._store.files(place)
        moments = read_tensors(files, MOMENTS) if optimizer else None
        self.get(model).trainer.load(read_tensors(files, WEIGHTS), moments)

    def forward_backward(self, message: Any) -> bytes:
        """The training pass, as the message that answers it."""
        trainer = self.get(message.model_id).trainer
        loss = read_loss(message)
        config = read_config(message, loss)
        folder = trainer.base.folder
        datums = read_datums(message, loss, folder.vocabulary, folder.context)
        run = trainer.forward if message.forward_only else trainer.forward_backward
        done = run(datums, loss, config, self._batch_tokens)
        return write_training(datums, done.logprobs, done.loss)

    def step(self, model: str, settings: AdamSettings) -> dict[str, float]:
        """An optimiser step and its metrics."""
        return self.get(model).trainer.step(settings)

    def save(self, model: str, kind: Kind, naming: Naming, recipients: list[str] | None = None) -> str:
        """Save a checkpoint and return its path; an export may be encrypted to some recipients."""
        found = self.get(model)
        path = CheckpointPath(model, kind, naming.name)
        files = self._files(found)
        if kind is Kind.TRAINING:
            files |= moments_file(found.trainer.moments())
        if recipients:
            files = encrypted(files, recipients)
        about = Checkpoint(
            base_model=found.run.base_model,
            lora=found.run.lora,
            created=now().isoformat(),
            optimizer=OPTIMIZER if kind is Kind.TRAINING else None,
            expires=expiry(naming.ttl),
            user_metadata=naming.user_metadata,
        )
        self._store.save(found.run, path, about, files, overwrite=naming.overwrite)
        return str(path)

    def snapshot(self, model: str, sampler: str) -> Sampler:
        """A sampler of a model's weights as they are now."""
        found = self.get(model)
        weights = found.trainer.weights()
        return self._samplers.snapshot(
            sampler, found.session, found.run.base_model, found.run.lora, weights, self._files(found)
        )

    def drop(self, model: str) -> None:
        """Give up a model, if it is there; what it saved stays."""
        found = self._models.pop(model, None)
        if found is not None:
            found.trainer.close()
            self._bases.budget.give_back(model)

    def drop_session(self, session: str) -> None:
        """Give up the models of a session."""
        for name in [name for name, model in self._models.items() if model.session == session]:
            self.drop(name)

    def _files(self, model: Model) -> dict[str, bytes]:
        return adapter_files(model.trainer.weights(), model.run.lora, model.trainer.base.folder)
