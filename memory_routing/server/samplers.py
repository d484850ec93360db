"""Samplers: base models and sets of sampler weights, the latest used of which stay in memory."""

from __future__ import annotations

import random
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import attrs
from torch import Tensor

from memory_routing.server.adapter_files import WEIGHTS, read_tensors
from memory_routing.server.base import Base
from memory_routing.server.bases import Bases
from memory_routing.server.checkpoints import Store, write_folder
from memory_routing.server.lora import LoraShape
from memory_routing.server.memory import WEIGHT_BYTES
from memory_routing.server.paths import CheckpointPath, Kind
from memory_routing.server.refusal import NotHere, Refused
from memory_routing.server.sampling import Samples, SamplingTask, sample

__all__ = ["Sampler", "Samplers"]


@attrs.frozen
class Sampler:
    """What a sampling session draws from: a base model, with weights where `shape` says of which form.

    The weights are those of a checkpoint as it was `created`, or of an unnamed snapshot in a folder.
    """

    id: str
    session: str
    base_model: str
    shape: LoraShape | None = None
    path: CheckpointPath | None = None
    created: str | None = None
    snapshot: Path | None = None

    @property
    def weights(self) -> str:
        """What the weights are known by."""
        return f"{self.path} of {self.created}" if self.path is not None else self.id


class Samplers:
    """The samplers of all sessions. What computes is called by the worker alone."""

    def __init__(self, bases: Bases, store: Store, kept: int) -> None:
        self._bases, self._store, self._kept = bases, store, kept
        self._samplers: dict[str, Sampler] = {}
        self._loaded: OrderedDict[str, tuple[str, str]] = OrderedDict()
        """Base model and adapter of the weights in memory, the latest used last."""
        self._random = random.Random()

    def get(self, name: str) -> Sampler:
        """The sampler with an id. Raises `NotHere` where there is none."""
        sampler = self._samplers.get(name)
        if sampler is None:
            raise NotHere(f"the sampler {name[:80]!r}")
        return sampler

    def open(self, name: str, session: str, base_model: str | None, path: str | None) -> Sampler:
        """A sampler of a base model or a checkpoint. Raises `Refused` where that is not there."""
        if path is None:
            if base_model is None:
                raise Refused("a sampler needs a base_model or a model_path")
            self._bases.folder(base_model)
            sampler = Sampler(name, session, base_model)
        else:
            place = CheckpointPath.parse(path)
            if place.kind is Kind.EXTERNAL:
                raise Refused(f"{place} is an export, from which nothing is sampled: use save_weights_for_sampler")
            about = self._store.about(place)
            self._bases.folder(about.base_model)
            sampler = Sampler(name, session, about.base_model, about.lora, place, about.created)
        self._samplers[name] = sampler
        return sampler

    def snapshot(
        self, name: str, session: str, base_model: str, shape: LoraShape, weights: Mapping[str, Tensor],
        files: Mapping[str, bytes],
    ) -> Sampler:  # fmt: skip
        """A sampler of weights that have no name, kept on disk until its session ends."""
        folder = self._store.snapshots / name.replace(":", "-")
        write_folder(folder, files)
        sampler = Sampler(name, session, base_model, shape, snapshot=folder)
        self._samplers[name] = sampler
        self._load(sampler, shape, weights)
        return sampler

    def sample(self, name: str, task: SamplingTask) -> Samples:
        """Draw from a sampler."""
        return sample(self._put_in_force(self.get(name)), task)

    def seed(self) -> int:
        """A seed for a request that has none."""
        return self._random.getrandbits(63)

    def make_room(self, size: int) -> None:
        """Forget weights in memory until so many bytes are free, or none are left."""
        while self._loaded and self._bases.budget.free < size:
            self._forget(next(iter(self._loaded)))

    def drop_session(self, session: str) -> None:
        """Forget the samplers of a session."""
        for sampler in [s for s in self._samplers.values() if s.session == session]:
            del self._samplers[sampler.id]
            if sampler.snapshot is not None:
                if sampler.weights in self._loaded:
                    self._forget(sampler.weights)
                shutil.rmtree(sampler.snapshot, ignore_errors=True)

    def _put_in_force(self, sampler: Sampler) -> Base:
        base = self._bases.get(sampler.base_model)
        if sampler.shape is None:
            base.adapters.use(None)
            return base
        if sampler.weights not in self._loaded:
            self._load(sampler, sampler.shape, read_tensors(self._files(sampler), WEIGHTS))
        self._loaded.move_to_end(sampler.weights)
        base.adapters.use(self._loaded[sampler.weights][1])
        return base

    def _files(self, sampler: Sampler) -> dict[str, Path]:
        if sampler.path is None:
            return {file.name: file for file in sampler.snapshot.iterdir()} if sampler.snapshot else {}
        if self._store.about(sampler.path).created != sampler.created:
            raise Refused(f"{sampler.path} was overwritten after this sampler was created: create another one")
        return self._store.files(sampler.path)

    def _load(self, sampler: Sampler, shape: LoraShape, weights: Mapping[str, Tensor]) -> None:
        base = self._bases.get(sampler.base_model)
        size = shape.parameters(base.folder) * WEIGHT_BYTES
        while sum(name == sampler.base_model for name, _ in self._loaded.values()) >= self._kept:
            self._forget(next(key for key, (name, _) in self._loaded.items() if name == sampler.base_model))
        self.make_room(size)
        self._bases.budget.take(sampler.weights, size, f"a sampler of rank {shape.rank} on {sampler.base_model}")
        adapter = base.adapters.add(shape, seed=0)
        self._loaded[sampler.weights] = (sampler.base_model, adapter)
        try:
            base.adapters.write(adapter, weights)
        except BaseException:
            self._forget(sampler.weights)
            raise

    def _forget(self, weights: str) -> None:
        name, adapter = self._loaded.pop(weights)
        self._bases.get(name).adapters.drop(adapter)
        self._bases.budget.give_back(weights)
