"""Evaluation: a router's decisions on scenarios, scored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from memory_routing.dataset import Dataset
from memory_routing.decision import Decision
from memory_routing.errors import RouterError, TaxonomyError
from memory_routing.example import Scenario
from memory_routing.leakage import check_leakage
from memory_routing.report import Failure, Report, ScenarioResult, Timing
from memory_routing.reward import RewardFn, RoutingReward
from memory_routing.router import Router

__all__ = ["evaluate"]

_GIVE_UP: Final = 3
"""Scenarios that fail one after another, after which a service counts as down."""


def evaluate(
    router: Router,
    scenarios: Sequence[Scenario],
    *,
    train: Dataset | None = None,
    reward: RewardFn | None = None,
    timed: bool = False,
) -> Report:
    """Route every scenario and score the decisions.

    All go to the router in one batch. Where that fails, what is missing is asked for one by one; a scenario that fails
    again is among the report's `failures` and in no score. With `timed` every scenario that was decided is also decided
    alone against the clock, which is twice the calls. `train` is what the router learned from: the report then says
    what the scenarios share with it. `reward` is `RoutingReward` where left out.

    Raises `ValueError` without scenarios, `TaxonomyError` before anything is routed for scenarios of another taxonomy
    than the router's, `RouterError` for one decision too few or too many, and what the router raises where it decides
    nothing at all.
    """
    if not scenarios:
        raise ValueError("evaluate needs at least one scenario")
    for i, scenario in enumerate(scenarios):
        if any(labels.taxonomy != router.taxonomy for labels in scenario.accepted):
            raise TaxonomyError(
                f"scenario {i} ({scenario.id}): its labels are of another taxonomy than the router's, "
                f"{router.taxonomy.name} {router.taxonomy.version}"
            )
    started = time.perf_counter()
    decided, failures = _decided(router, scenarios)
    elapsed = time.perf_counter() - started
    seconds = _seconds(router, [scenarios[i] for i in sorted(decided)]) if timed else ()
    timing = Timing(seconds, len(decided) / elapsed, len(decided)) if seconds else None
    results = tuple(ScenarioResult(scenarios[i], decided[i]) for i in sorted(decided))
    name = results[0].decision.router or type(router).__name__
    model = getattr(router, "model_hash", None)
    leaks = None if train is None else check_leakage(train, scenarios)
    return Report(name, router.taxonomy, results, reward or RoutingReward(), failures, timing, leaks, model)


def _decided(router: Router, scenarios: Sequence[Scenario]) -> tuple[dict[int, Decision], tuple[Failure, ...]]:
    """Decisions by the place of their scenario, and the scenarios without one."""
    try:
        decisions = router.classify_batch([scenario.conversation for scenario in scenarios])
    except RouterError as error:
        if not error.decided:
            raise
        decided, last = dict(error.decided), str(error)
    else:
        if len(decisions) != len(scenarios):
            raise RouterError(
                f"{type(router).__name__} gave {len(decisions)} decisions for {len(scenarios)} conversations; "
                "classify_batch has to give one for each, in order"
            )
        return dict(enumerate(decisions)), ()
    failures: list[Failure] = []
    in_a_row = 0
    for i, scenario in enumerate(scenarios):
        if i in decided:
            continue
        if in_a_row < _GIVE_UP:
            try:
                decided[i] = router.classify(scenario.conversation)
            except RouterError as error:
                last, in_a_row = str(error), in_a_row + 1
            else:
                in_a_row = 0
                continue
        failures.append(Failure(scenario, last))
    return decided, tuple(failures)


def _seconds(router: Router, scenarios: Sequence[Scenario]) -> tuple[float, ...]:
    """Time of each decision that is made; what fails on the second asking has its decision from the first."""
    found: list[float | None] = []
    # The first call may still load something.
    for scenario in (scenarios[0], *scenarios):
        started = time.perf_counter()
        try:
            router.classify(scenario.conversation)
        except RouterError:
            found.append(None)
        else:
            found.append(time.perf_counter() - started)
    return tuple(seconds for seconds in found[1:] if seconds is not None)
