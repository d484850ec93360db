"""Generating a dataset: a plan in, a checked dataset and a report out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from filelock import FileLock, Timeout

from memory_routing import marketing
from memory_routing.background import as_done, iterate, run
from memory_routing.dataset import Dataset
from memory_routing.errors import GenerationError, TeacherError, TrainingError
from memory_routing.example import Annotation, Example, Scenario
from memory_routing.files import write_json_lines
from memory_routing.generation.admission import SURPLUS, Admission, name_of
from memory_routing.generation.answers import AnswerLog
from memory_routing.generation.calls import BudgetError, Calls, Prices
from memory_routing.generation.chat import ChatTeacher
from memory_routing.generation.config import GenerationConfig
from memory_routing.generation.gate import Refusal, check_agreement, check_conversation
from memory_routing.generation.plan import Plan
from memory_routing.generation.remembered import RememberedTeacher
from memory_routing.generation.report import GenerationReport, Item, report_on
from memory_routing.labels import Malformed
from memory_routing.progress import track
from memory_routing.runs import CONFIG, RunFolder
from memory_routing.taxonomy import NONE
from memory_routing.teacher import Brief, TeacherGenerator

__all__ = ["Generation", "generate_dataset"]

PLAN: Final = "plan.jsonl"
ANSWERS: Final = "answers.jsonl"
DATASET: Final = "dataset.jsonl"
SET_ASIDE: Final = "set_aside.jsonl"
DEAD_LETTERS: Final = "dead_letters.jsonl"
_LOGGED_EVERY: Final = 50
"""Briefs between two rows of the metrics."""


@attrs.frozen
class Generation:
    """What came of a plan. `stopped` says why it is not finished, if it is not."""

    dataset: Dataset
    report: GenerationReport
    stopped: str | None = None


def generate_dataset(
    teacher: TeacherGenerator,
    plan: Plan,
    out: str | Path,
    config: GenerationConfig = GenerationConfig(),  # noqa: B008
    *,
    benchmarks: Sequence[Scenario] | None = None,
    budget: float | None = None,
    prices: Prices | None = None,
) -> Generation:
    """Have a teacher write and label the conversations of a plan, and keep those that pass the gate.

    The folder `out` holds the run: `dataset.jsonl` and `report.html`; `set_aside.jsonl`, conversations whose labels
    differ from those asked for; `dead_letters.jsonl`, briefs without a conversation, with reasons; `answers.jsonl`,
    every answer as it came. The same call on the same folder goes on where an earlier one stopped and ends in the same
    dataset; no answer on the disk is asked for again. No conversation that quotes a scenario of `benchmarks` is taken;
    left out, they are the packaged ones for the marketing taxonomy. `budget` in USD, at `prices` or those that the
    teacher knows, ends the run before it is passed.

    Raises `GenerationError` for a folder of another plan or a budget that pays for no call, `TeacherError` where the
    service refuses or is down; what was answered by then is kept.
    """
    if plan.taxonomy != teacher.taxonomy:
        raise GenerationError("the plan is for another taxonomy than the teacher's")
    if not len(plan):
        raise GenerationError("the plan is empty")
    if benchmarks is None:
        benchmarks = marketing.benchmark() if plan.taxonomy == marketing.MARKETING else ()
    if isinstance(teacher, ChatTeacher):
        prices = prices or teacher.prices
    if budget is not None:
        _check_budget(teacher, plan, budget, prices)
    folder = Path(out)
    with _opened(folder, _identity(teacher, plan, config, benchmarks)) as run_folder:
        log = AnswerLog(folder / ANSWERS)
        try:
            calls = Calls(
                log=log,
                retries=config.retries,
                timeout=config.timeout,
                per_minute=config.per_minute,
                prices=prices,
                budget=budget,
                pause=config.pause,
            )
            return _Run(teacher, plan, config, benchmarks, calls, run_folder).finish()
        finally:
            log.close()


class _Run:
    """One session of a run."""

    def __init__(
        self,
        teacher: TeacherGenerator,
        plan: Plan,
        config: GenerationConfig,
        benchmarks: Sequence[Scenario],
        calls: Calls,
        folder: RunFolder,
    ) -> None:
        self._teacher: TeacherGenerator
        if isinstance(teacher, ChatTeacher):
            self._teacher = teacher.through(calls)
        else:
            self._teacher = RememberedTeacher(teacher, calls)
        self._plan, self._config, self._calls, self._folder = plan, config, calls, folder
        self._admission = Admission(plan, config, benchmarks)
        self._items = [Item(brief) for brief in plan]
        self._set_aside: dict[tuple[str, int], Example] = {}
        self._refused = 0
        """Conversations that were not taken."""
        self._stopped: str | None = None
        """Why the run ends before its plan is done."""

    def finish(self) -> Generation:
        """Work through the plan, in rounds, and write what came of it."""
        write_json_lines(self._folder.path / PLAN, (brief.to_dict() for brief in self._plan))
        todo = self._items
        try:
            while todo and self._stopped is None:
                todo = self._round(todo)
            unanswered = [item.unanswered for item in self._items if item.unanswered]
            if unanswered and self._stopped is None:
                self._stopped = f"{len(unanswered)} briefs got no answer, the first: {unanswered[0]}"
        finally:
            if isinstance(self._teacher, ChatTeacher):
                # Whatever it holds open, what was answered counts.
                with contextlib.suppress(Exception):
                    run(self._teacher.close())
        return self._written()

    def _round(self, todo: Sequence[Item]) -> list[Item]:
        """Write and label until each brief has a conversation that passes; then admit them in the plan's order.

        Admission compares conversations with each other. It waits for all, so that no timing decides what is kept.
        """
        found: dict[int, Example] = {}
        working = iterate(as_done(self._candidate, todo, self._config.concurrency))
        for done, (item, example) in enumerate(track(working, self._progress, len(todo)), start=1):
            if example is not None:
                found[item.brief.number] = example
            if done % _LOGGED_EVERY == 0 or done == len(todo):
                self._log(done, len(todo))
        again: list[Item] = []
        for item in todo:
            if (example := found.get(item.brief.number)) is None:
                continue
            if (refusal := self._admission.offer(item.brief.number, example)) is not None:
                self._refuse(item, refusal)
                if refusal.reason == SURPLUS:
                    self._keep_aside(example, refusal)
                if item.attempts < self._config.attempts:
                    again.append(item)
        return again

    async def _candidate(self, item: Item) -> Example | None:
        """The next conversation for a brief that passes the gate; `None` where its attempts are used up."""
        while item.attempts < self._config.attempts:
            try:
                found = await self._attempt(item)
            except BudgetError as error:
                # Others go on: their answers may be on the disk, and may lead to the end.
                self._stopped = str(error)
                return None
            except TeacherError as error:
                if error.fatal:
                    raise
                if error.passing:
                    # Of this session alone: a later one asks again.
                    item.unanswered = str(error)
                    return None
                found = Refusal("refused by the service", str(error))
            item.attempts += 1
            if isinstance(found, Example):
                return found
            self._refuse(item, found)
        return None

    def _refuse(self, item: Item, refusal: Refusal) -> None:
        item.refusals.append(refusal)
        self._refused += 1

    async def _attempt(self, item: Item) -> Example | Refusal:
        brief = item.brief
        written = await self._teacher.generate(brief, item.attempts)
        if isinstance(written, Malformed):
            return Refusal("malformed conversation", written.reason)
        conversation = written.conversation
        refusal = check_conversation(conversation, brief, self._config.gate)
        if refusal is not None:
            return refusal
        annotation = await self._teacher.label(conversation)
        if isinstance(annotation, Malformed):
            return Refusal("malformed labels", annotation.reason)
        item.labelled.append(annotation.labels)
        example = self._example(brief, written, annotation, item.attempts)
        refusal = check_agreement(brief.labels, annotation, conversation, self._config.keep)
        if refusal is not None:
            self._keep_aside(example, refusal)
            return refusal
        return example

    def _keep_aside(self, example: Example, refusal: Refusal) -> None:
        """For a person to look at: a conversation with the labels that it was given, and why it is not in."""
        metadata = {**example.metadata, "reason": f"{refusal.reason}: {refusal.detail}"}
        self._set_aside[example.id, metadata["attempt"]] = attrs.evolve(example, metadata=metadata)

    def _example(self, brief: Brief, written: Example, annotation: Annotation, attempt: int) -> Example:
        metadata = {
            **written.metadata,
            "target": list(brief.labels) or [NONE],
            "industry": brief.industry,
            "role": brief.role,
            "tone": brief.tone,
            "distractor": brief.distractor,
            "attempt": attempt,
            "teacher": getattr(self._teacher, "model", None),
        }
        name = name_of(brief.number)
        try:
            return Example(written.conversation, annotation, name, metadata)
        except ValueError:
            # Evidence that names no turn of the conversation: the check of the labels says so.
            return Example(written.conversation, Annotation(annotation.labels), name, metadata)

    def _progress(self) -> str:
        cost = f", {self._calls.usd:.2f} USD" if self._calls.prices is not None else ""
        again = f", {self._calls.retried} calls tried again" if self._calls.retried else ""
        return f"conversations, {self._refused} refused{again}{cost}"

    def _log(self, done: int, of: int) -> None:
        self._folder.log(
            done=done,
            of=of,
            admitted=len(self._admission.taken),
            refused=self._refused,
            calls=self._calls.made,
            usd=self._calls.usd,
        )

    def _written(self) -> Generation:
        folder, dataset = self._folder.path, self._admission.dataset()
        aside = [self._set_aside[key] for key in sorted(self._set_aside)]
        missing = [item for item in self._items if item.brief.number not in self._admission.taken]
        dead = [item for item in missing if item.attempts >= self._config.attempts or item.unanswered]
        report = report_on(self._plan, self._items, dataset, self._calls, self._config)
        dataset.write(folder / DATASET)
        Dataset(self._plan.taxonomy, tuple(aside)).write(folder / SET_ASIDE)
        write_json_lines(folder / DEAD_LETTERS, (item.to_dict() for item in dead))
        report.write(folder)
        return Generation(dataset, report, self._stopped)


@contextlib.contextmanager
def _opened(folder: Path, identity: dict[str, Any]) -> Iterator[RunFolder]:
    """The run folder, for this process alone."""
    folder.mkdir(parents=True, exist_ok=True)
    foreign = [name for name in (DATASET, ANSWERS) if (folder / name).exists()]
    if foreign and not (folder / CONFIG).exists():
        raise GenerationError(f"{folder / foreign[0]} is there and of no run: name another folder")
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield RunFolder(folder, identity)
    except Timeout:
        raise GenerationError(
            f"another process is generating in {folder}: wait for it, or name another folder"
        ) from None
    except TrainingError as error:
        raise GenerationError(str(error)) from None


def _identity(
    teacher: TeacherGenerator, plan: Plan, config: GenerationConfig, benchmarks: Sequence[Scenario]
) -> dict[str, Any]:
    """What decides which dataset a run ends in."""
    texts = "\n".join(sorted(scenario.conversation.hash for scenario in benchmarks))
    return {
        "taxonomy": f"{plan.taxonomy.name} {plan.taxonomy.version} {plan.taxonomy.hash}",
        "plan": plan.hash,
        "teacher": dict(teacher.identity()),
        "keep": config.keep,
        "surplus": config.surplus,
        "gate": attrs.asdict(config.gate),
        "benchmarks": hashlib.sha256(json.dumps(texts).encode()).hexdigest(),
    }


def _check_budget(teacher: TeacherGenerator, plan: Plan, budget: float, prices: Prices | None) -> None:
    if not isinstance(teacher, ChatTeacher):
        raise GenerationError("a budget needs a ChatTeacher, whose tokens can be counted")
    if prices is None:
        raise GenerationError(f"a budget needs prices, and none are known of {teacher.model}: give them")
    first = prices.usd(teacher.writing(plan[0]).size)
    if not first <= budget < math.inf:
        raise GenerationError(f"the budget of {budget:g} USD does not pay for one call, which may cost {first:.4f} USD")
