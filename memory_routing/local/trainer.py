"""The local trainer: the embedded encoder, fine-tuned on this machine."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Final, final

import attrs
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn, optim
from torch.nn.functional import binary_cross_entropy_with_logits

from memory_routing.conversation import ROLES
from memory_routing.dataset import Dataset
from memory_routing.embedded.encoding import SPECIAL_TOKENS, ConversationEncoder, make_tokenizer, role_token
from memory_routing.embedded.folder import FORMAT, GRAPH, TAXONOMY, TOKENIZER, Manifest, ModelFolder
from memory_routing.embedded.runtime import Graph
from memory_routing.embedded.scoring import ConversationLogits, score
from memory_routing.errors import TrainingError
from memory_routing.frozen import plain
from memory_routing.local.batches import Batch, encode, mask_words, shuffled_batches
from memory_routing.local.config import LocalConfig
from memory_routing.local.encoder import BASE_MODEL, Encoder, Pretrained
from memory_routing.local.export import export_graph
from memory_routing.local.fitting import fit
from memory_routing.local.model import TurnModel, conversation_logits
from memory_routing.local.quantise import quantised
from memory_routing.local.state import copy_average, load_state, save_state
from memory_routing.progress import track
from memory_routing.runs import RunFolder
from memory_routing.trainer import Checkpoint, SamplerWeights, Trainer, TrainingState

__all__ = ["LocalTrainer"]

_STATE: Final = "state.safetensors"
_MODEL: Final = "model"
_MASK: Final = "[MASK]"
_RENDERER: Final = "turn-markers"
_WARM_UP: Final = 0.1
_LOG_EVERY: Final = 20
_SAMPLE_EVERY: Final = 30
"""Every how many examples one is used to measure what quantisation has to hold."""


@final
class LocalTrainer(Trainer):
    """Fine-tunes the embedded encoder and writes a model folder that `Router.load` takes.

    `encoder` is a folder with the base model; without it, the installed package or the hub. Every example
    needs evidence. The same data, configuration and machine give the same bytes, also through a kill.
    """

    def __init__(self, config: LocalConfig | None = None, *, encoder: Path | None = None) -> None:
        self.config = LocalConfig() if config is None else config
        self._encoder_folder = encoder

    def fit(self, train: Dataset, validation: Dataset, run_dir: Path) -> Checkpoint:
        """Train on one dataset, fit calibration and thresholds on the other, and export.

        Raises `TrainingError` for data without evidence, data of two taxonomies, or a `run_dir` that holds
        another run.
        """
        _check(train, validation)
        pretrained = Pretrained.read(self._encoder_folder)
        run = RunFolder(
            run_dir,
            {
                **attrs.asdict(self.config),
                "base_model": BASE_MODEL,
                "taxonomy": train.taxonomy.hash,
                "train": train.hash,
                "validation": validation.hash,
            },
        )
        if not run.rows():
            held = {"train": train, "validation": validation}
            run.log(step=0, **{f"data/{name}": {"conversations": len(part)} for name, part in held.items()})
        training = _Training(self.config, pretrained, train, run)
        training.resume()
        training.finish()
        return training.export(validation)


def _check(train: Dataset, validation: Dataset) -> None:
    if train.taxonomy != validation.taxonomy:
        raise TrainingError("training and validation data have different taxonomies")
    for name, dataset in (("training", train), ("validation", validation)):
        if not len(dataset):
            raise TrainingError(f"the {name} dataset is empty")
        bare = [e.id or str(i) for i, e in enumerate(dataset) if e.annotation.evidence is None]
        if bare:
            raise TrainingError(f"{len(bare)} {name} examples have no evidence turns, the first is {bare[0]}")


class _Training:
    """One run: members one after another, each a model with its average and optimiser, and the mean of their averages.

    `epoch` counts over all members.
    """

    def __init__(self, config: LocalConfig, pretrained: Pretrained, train: Dataset, run: RunFolder) -> None:
        self.config, self.pretrained, self.train, self.run = config, pretrained, train, run
        self.tokenizer = _tokenizer(pretrained)
        self.windows = ConversationEncoder(self.tokenizer, config.window)
        self.special = torch.tensor([self.tokenizer.token_to_id(token) for token in (*SPECIAL_TOKENS, _MASK)])
        items = (encode(example, self.windows) for example in train)
        # A conversation that is context only has nothing to learn from.
        self.items = [item for item in items if item.evidential.any()]
        self.steps_per_epoch = -(-len(self.items) // config.batch)
        self.epoch = 0
        self.state = run.path / _STATE
        self._start_member()
        self.mean = copy.deepcopy(self.model)

    @property
    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average, "mean": self.mean}

    def resume(self) -> None:
        """Go on from the last whole epoch of a run that was there before."""
        if self.state.exists():
            self.epoch = load_state(self.state, self._modules, self.optimizer)
        self.run.keep(lambda row: row["step"] <= self.epoch * self.steps_per_epoch)

    def finish(self) -> None:
        """Train the epochs that are left."""
        while self.epoch < self.config.members * self.config.epochs:
            member, done = divmod(self.epoch, self.config.epochs)
            if not done:
                self._start_member()
            self._train_epoch()
            self.epoch += 1
            if done + 1 == self.config.epochs:
                copy_average(self.mean, self.average, member / (member + 1))
            save_state(self.state, self._modules, self.optimizer, self.epoch)

    def _start_member(self) -> None:
        """Begin anew, all members at the same point: only then is the mean of their weights a model too."""
        torch.manual_seed(self.config.seed)
        encoder = Encoder(self.pretrained, self.config.dropout)
        _start_markers(encoder, self.tokenizer)
        self.model = TurnModel(encoder, len(self.train.taxonomy), self.config.dropout)
        self.average = copy.deepcopy(self.model)
        self.optimizer = _optimizer(self.model, self.config)

    def _train_epoch(self) -> None:
        # An epoch's chance is its own, so that a resumed run draws what an uninterrupted one drew.
        seed = f"{self.config.seed}/{self.epoch}"
        draw = random.Random(seed)
        torch.manual_seed(draw.getrandbits(63))
        self.model.train()
        step = self.epoch * self.steps_per_epoch
        losses: list[float] = []
        batches = shuffled_batches(self.items, self.config.batch, draw)
        epochs = self.config.members * self.config.epochs
        for batch in track(batches, f"epoch {self.epoch + 1} of {epochs}", self.steps_per_epoch):
            losses.append(self._step(batch, step))
            step += 1
            if step % _LOG_EVERY == 0 or step % self.steps_per_epoch == 0:
                self.run.log(step=step, epoch=self.epoch + 1, train_loss=sum(losses) / len(losses))
                losses.clear()

    def _step(self, batch: Batch, step: int) -> float:
        total = self.steps_per_epoch * self.config.epochs
        step_of_member = step % total
        rate = _rate(step_of_member, total)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        with torch.autocast("cpu", dtype=torch.bfloat16):
            turns = self.model(mask_words(batch, self.config.masking, int(self.special[-1]), self.special))
        loss = _loss(turns, batch, self.config)
        if not torch.isfinite(loss):
            raise TrainingError(f"step {step}: the loss is {loss.item()}; lower the learning rate")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        # Early on the average would be mostly the untrained weights.
        copy_average(self.average, self.model, min(self.config.average, (1 + step_of_member) / (10 + step_of_member)))
        return loss.item()

    def export(self, validation: Dataset) -> Checkpoint:
        """Write the model folder, fitted as it is served: with int8 weights, by ONNX Runtime."""
        sample = [window for item in self.items[::_SAMPLE_EVERY] for window in item.windows]
        graph = quantised(export_graph(self.mean.eval()), sample)
        fitted = fit(self._logits(graph, validation), validation.examples)
        config = attrs.asdict(self.config)
        manifest = Manifest(
            format=FORMAT,
            name="embedded",
            window=self.config.window,
            calibration=fitted.calibration,
            rule=fitted.rule,
            taxonomy_hash=self.train.taxonomy.hash,
            dataset_hash=self.train.hash,
            base_model=BASE_MODEL,
            config=config,
            metrics=fitted.metrics,
            files={},
        )
        folder = self.run.path / _MODEL
        content = {
            GRAPH: graph,
            TOKENIZER: self.tokenizer.to_str().encode(),
            TAXONOMY: self.train.taxonomy.to_toml().encode(),
        }
        ModelFolder.write(folder, manifest, content)
        checkpoint = Checkpoint(
            state=TrainingState(str(self.state)),
            weights=SamplerWeights(str(folder)),
            step=self.epoch * self.steps_per_epoch,
            base_model=BASE_MODEL,
            renderer=_RENDERER,
            taxonomy_hash=self.train.taxonomy.hash,
            dataset_hash=self.train.hash,
            config=config,
            metrics=fitted.metrics,
        )
        self.run.record_checkpoint(**plain(checkpoint))
        return checkpoint

    def _logits(self, graph: bytes, dataset: Dataset) -> list[ConversationLogits]:
        run = Graph(graph)
        logits = []
        for example in track(dataset, "validation", len(dataset)):
            windows = self.windows.windows(example.conversation)
            evidential = [not turn.is_context for turn in example.conversation.turns]
            logits.append(score(windows, [run(window.ids) for window in windows], evidential))
        return logits


def _tokenizer(pretrained: Pretrained) -> Tokenizer:
    """The base model's vocabulary, with entries that it never used standing for the roles."""
    markers = {f"[unused{number}]": role_token(role) for number, role in enumerate(ROLES)}
    return make_tokenizer({markers.get(token, token): place for token, place in pretrained.vocabulary.items()})


def _start_markers(encoder: Encoder, tokenizer: Tokenizer) -> None:
    """Let a role's marker begin as the word for the role."""
    weights = encoder.words.weight.data
    for role in ROLES:
        weights[tokenizer.token_to_id(role_token(role))] = weights[tokenizer.token_to_id(role)]


def _optimizer(model: TurnModel, config: LocalConfig) -> optim.Optimizer:
    """AdamW; lower layers learn more slowly, norms and offsets do not decay."""
    depth = len(model.encoder.layers)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        place = name.split(".")
        if place[0] != "encoder":
            peak = config.head_learning_rate
        elif place[1] == "layers":
            peak = config.learning_rate * config.layer_decay ** (depth - 1 - int(place[2]))
        else:
            peak = config.learning_rate * config.layer_decay**depth
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((peak, decay), []).append(parameter)
    rows = [{"params": members, "peak": peak, "weight_decay": decay} for (peak, decay), members in groups.items()]
    return optim.AdamW(rows, fused=True)


def _rate(step: int, total: int) -> float:
    """Share of the peak rate: up over the first tenth, then down to nothing."""
    warm = max(1, round(_WARM_UP * total))
    return (step + 1) / warm if step < warm else (total - step) / max(1, total - warm)


def _loss(turns: Tensor, batch: Batch, config: LocalConfig) -> Tensor:
    """Cross-entropy of the conversations' labels, and of the turns' against the evidence."""
    weight = torch.tensor(config.positive_weight)
    seen = batch.evidential
    conversation = conversation_logits(turns)
    loss = binary_cross_entropy_with_logits(conversation, _smooth(batch.labels, config), pos_weight=weight)
    evidence = binary_cross_entropy_with_logits(turns[seen], _smooth(batch.evidence[seen], config), pos_weight=weight)
    return loss + config.evidence_weight * evidence


def _smooth(targets: Tensor, config: LocalConfig) -> Tensor:
    return targets * (1 - 2 * config.smoothing) + config.smoothing
