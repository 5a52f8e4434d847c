"""What a finished study of head tuning shows: its trials, its best one, and which settings mattered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from sertransfer.evaluation.aggregation import ATTENTION
from sertransfer.transfer.search_space import TuneConfig, suggest
from sertransfer.transfer.settings import TransferConfig

FEWEST = 10
"""Under so many complete trials nothing is said about which settings mattered."""


@dataclass(frozen=True)
class Studied:
    """What one study found: its finished trials, the best one and the settings that it stands for."""

    name: str
    trials: list[FrozenTrial]
    best: FrozenTrial
    config: TransferConfig

    def inner(self) -> dict[str, float]:
        """Return the best trial's inner figures."""
        inner = self.best.user_attrs["inner"]
        return {"value": float(self.best.value or 0.0), **{name: inner[name] for name in ("ua", "auroc")}}

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a trial, for ``trials.csv``."""
        return [
            {
                "study": self.name,
                "trial": place,
                "state": trial.state.name.lower(),
                "value": trial.value if trial.state == TrialState.COMPLETE else None,
                **{name: trial.user_attrs.get("inner", {}).get(name) for name in ("ua", "auroc")},
                "warnings": json.dumps(warnings_of(trial), sort_keys=True) if warnings_of(trial) else "",
                "best": trial.number == self.best.number,
                "settings": json.dumps(trial.params, sort_keys=True),
            }
            for place, trial in enumerate(self.trials)
        ]


def warnings_of(trial: FrozenTrial) -> dict[str, int]:
    """Return the solvers' warnings of a trial's fits, each with how many gave it."""
    return dict(trial.user_attrs.get("inner", {}).get("warnings", {}))


def trial_warnings(studied: Sequence[Studied]) -> dict[str, int]:
    """Return the solvers' warnings of all trials, each with how many fits gave it."""
    counts: dict[str, int] = {}
    for trial in (trial for one in studied for trial in one.trials):
        for text, count in warnings_of(trial).items():
            counts[text] = counts.get(text, 0) + count
    return counts


def importance(studied: Studied, config: TuneConfig) -> dict[str, float]:
    """Return each setting's share of the variance of the complete trials' values, the greatest first.

    It is functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown, 2014), as Optuna has it.
    Optuna leaves out what some trials were not asked, so every trial is spelt out first: the settings that
    all of them had, C whatever it belongs to.

    Args:
        studied: A finished study.
        config: What it searched.

    Returns:
        Nothing where fewer than :data:`FEWEST` trials are complete, or all came to the same.
    """
    rows = [
        (_spelt_out(suggest(FixedTrial(trial.params), config.space, config.transfer)), float(trial.value))
        for trial in studied.trials
        if trial.state == TrialState.COMPLETE and trial.value is not None
    ]
    if len(rows) < FEWEST or len({value for _, value in rows}) == 1:
        return {}
    kinds: dict[str, BaseDistribution] = {}
    for name in rows[0][0]:
        values = sorted({settings[name] for settings, _ in rows}, key=str)
        if name == "C" and len(values) > 1:
            kinds[name] = FloatDistribution(min(values), max(values), log=True)
        elif len(values) > 1:
            kinds[name] = CategoricalDistribution(values)
    if not kinds:
        return {}
    study = optuna.create_study()
    study.add_trials(
        [
            create_trial(params={name: settings[name] for name in kinds}, distributions=kinds, value=value)
            for settings, value in rows
        ]
    )
    evaluator = FanovaImportanceEvaluator(seed=config.transfer.seed)
    return {name: float(share) for name, share in get_param_importances(study, evaluator=evaluator).items()}


def _spelt_out(config: TransferConfig) -> dict[str, Any]:
    """Return what a trial stands for, by names that all trials have."""
    probe = config.probe
    return {
        "probe": ATTENTION if config.aggregation == ATTENTION else probe.kind,
        "C": probe.c_grid[0],
        "standardise": probe.standardise,
        "pca": probe.pca,
        "pooling": config.pooling,
        "layer": config.layer or 0,
        "aggregation": config.aggregation,
        "threshold": config.threshold.rule,
    }
