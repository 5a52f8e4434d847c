"""What ``metrics.json`` of stage 2 says: the figures, and all that is needed to judge them."""

from __future__ import annotations

from typing import Any

from sertransfer import __version__
from sertransfer.corpora.listening import silence_remarks
from sertransfer.evaluation.aggregation import ATTENTION
from sertransfer.manifest import Manifest
from sertransfer.transfer.cohort import describe_cohort, severity_scores
from sertransfer.transfer.deciding import UNDECIDED_RULE, Scored
from sertransfer.transfer.probing import Outcome
from sertransfer.transfer.scoring import bare_figures, majority, sentence_figures, subject_figures
from sertransfer.transfer.settings import TransferConfig

PROBE = "probe.safetensors"
"""Name of the fitted probe in the run's ``checkpoints`` folder."""


def build_metrics(
    config: TransferConfig,
    manifest: Manifest,
    outcome: Scored,
    *,
    encoder: dict[str, Any],
    left_out: list[dict[str, str]],
) -> dict[str, Any]:
    """Return the content of ``metrics.json``.

    Args:
        config: Settings of the run.
        manifest: Its notes are quoted.
        outcome: What was found; the choices of anything but a probe are the caller's to add.
        encoder: ``name`` and what else describes the encoder.
        left_out: Sentences that could not be embedded.
    """
    notes, subjects = manifest.notes, outcome.subjects
    severity = severity_scores(manifest, subjects)
    parts = {"train": outcome.train.subjects, config.split: outcome.reported.subjects}
    return {
        "sentence": sentence_figures(outcome.sentences, config),
        "subject": subject_figures(subjects, config),
        "majority": majority(subjects),
        "split": config.split,
        "encoder": encoder["name"],
        "mode": config.mode,
        "errata": notes.get("errata", []),
        "classes": list(config.classes),
        "counts": {"train": outcome.train.counts(), config.split: outcome.reported.counts()},
        "cohort": describe_cohort(manifest, parts),
        **({} if severity is None else {"severity": severity}),
        "threshold": {"rule": config.threshold.rule, "value": outcome.threshold},
        "aggregation": config.aggregation,
        **({"top_k": config.top_k} if config.aggregation == "top_k" else {}),
        **(_choices(config, outcome) if isinstance(outcome, Outcome) else {}),
        "encoder_details": encoder,
        "corpus": ", ".join(sorted(manifest.table["corpus"].unique())),
        "assumptions": [
            *notes.get("assumptions", []),
            *silence_remarks(manifest, outcome.sentences["id"].tolist(), "sentences"),
        ],
        "left_out": {
            "manifest": len(notes.get("left_out", [])),
            "embedding": left_out,
            "train_subjects": sorted(
                set(outcome.train.subjects["subject"]) - set(outcome.train.sentences["subject"])
            ),
            "undecided_subjects": subjects.loc[subjects["undecided"], "subject"].tolist(),
        },
        "undecided_rule": UNDECIDED_RULE,
        "reported_split_use": "scored once, with what was chosen on the training subjects",
        "generated": manifest.generated,
        "generated_data": manifest.generated,
        "generated_model": bool((encoder.get("provenance") or {}).get("generated")),
        "sertransfer": __version__,
    }


def _choices(config: TransferConfig, outcome: Outcome) -> dict[str, Any]:
    """Return what was chosen for the probe, and by what."""
    selection = outcome.selection
    learnt = config.aggregation == ATTENTION
    return {
        "probe": {
            "kind": ATTENTION if learnt else config.probe.kind,
            "c": selection.c,
            "chosen_by": "subject AUROC out of fold, pairs within folds"
            if learnt
            else "sentence AUROC out of fold, pairs within folds, each subject weighing the same",
            "c_grid": selection.table,
            "folds": selection.folds,
            "warnings": selection.warnings,
            "dim": outcome.probe.dim,
            "file": f"checkpoints/{PROBE}",
        },
        "out_of_fold": {
            "note": "each training subject by a probe that has not seen it; "
            + (
                "C and the threshold were chosen on these scores, so WA and UA are optimistic"
                if config.threshold.rule == "out_of_fold"
                else "C was chosen on these scores"
            ),
            **({} if learnt else {"sentence_auroc": max(row["auroc"] for row in selection.table)}),
            "subject": bare_figures(outcome.train_subjects, config),
        },
    }
