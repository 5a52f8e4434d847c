"""Finished run folders, read for the tables that set them beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sertransfer.errors import BadInput, Faults
from sertransfer.files import hash_file
from sertransfer.reporting.run_files import read_json, read_yaml
from sertransfer.reporting.run_shape import misshapen
from sertransfer.run_folder import GENERATED_MODEL, generated_remark

AT_CHANCE = 0.0005
"""UA nearer to chance than this is chance: three decimals are printed."""


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        path: Its folder.
        kind: ``pretrain``, ``evaluate`` (stage 1) or ``transfer`` (stage 2).
        metrics: The content of ``metrics.json``.
        manifest: Hash of the manifest.
        weights: Hash of the stage-1 checkpoint that was written or scored; empty if it is gone.
    """

    path: Path
    kind: str
    metrics: dict[str, Any]
    manifest: str
    weights: str

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @property
    def model(self) -> str:
        """Name of the network; of the encoder and mode for stage 2."""
        if self.kind == "transfer":
            return " ".join(str(self.metrics[key]) for key in ("encoder", "mode") if self.metrics.get(key))
        return str(self.metrics.get("model", "model"))

    @property
    def corpus(self) -> str:
        """Name of the corpus that was scored; of the folder where the run does not say it."""
        return str(self.metrics.get("corpus") or self.name)

    @property
    def scores(self) -> dict[str, Any]:
        """The block of scores that counts: of subjects for stage 2, else of utterances."""
        scores: dict[str, Any] = self.metrics["subject" if self.kind == "transfer" else "utterance"]
        return scores

    @property
    def chance(self) -> float:
        """UA of one who guesses: 1 over the classes that the truth holds."""
        return 1 / max(1, len(self.scores["classes"]) - len(self.scores.get("absent") or []))

    def remarks(self, scores: Mapping[str, Any]) -> list[str]:
        """Return what a reader of *scores*, a block of this run, must know."""
        remarks = []
        if is_collapsed(scores, self.chance):
            remarks.append("collapsed: UA at chance")
        if absent := scores.get("absent"):
            remarks.append(f"UA without {', '.join(absent)}")
        if self.metrics.get("speakers_shared"):
            remarks.append(f"test speakers in training too: {self.metrics['speakers_shared']}")
        for key, whose in (("audio_shared", "training"), ("encoder_audio_shared", "the encoder's training")):
            found = self.metrics.get(key)
            if isinstance(found, dict) and found.get("status") == "shared":
                remarks.append(f"scored audio in {whose} too: {found.get('utterances')}")
        if remark := generated_remark(self.metrics):
            remarks.append(remark)
        return remarks

    @property
    def generated_data(self) -> bool:
        """Whether the recordings that were scored may be generated, whatever the model."""
        return generated_remark(self.metrics) not in ("", GENERATED_MODEL)


def is_collapsed(scores: Mapping[str, Any], chance: float) -> bool:
    """Return whether UA is that of guessing, as it is when every answer is the same."""
    ua = scores.get("ua")
    return ua is not None and abs(float(ua) - chance) < AT_CHANCE


def score_cells(scores: Mapping[str, Any]) -> dict[str, float | None]:
    """Return ``wa, wa_low, wa_high, ua, ua_low, ua_high``; ``None`` for what there is not."""
    cells: dict[str, float | None] = {}
    for name in ("wa", "ua"):
        low, high = scores.get(f"{name}_ci95") or (None, None)
        cells |= {name: scores.get(name), f"{name}_low": low, f"{name}_high": high}
    return cells


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read *folders*.

    Raises:
        BadInput: With every folder that holds no finished run of either stage.
    """
    faults = Faults()
    runs = []
    for folder in folders:
        try:
            runs.append(_read(folder, faults))
        except BadInput as error:
            for fault in error.faults:
                faults.add(fault.where, found=fault.found, expected=fault.expected, remedy=fault.remedy)
    faults.raise_if_any()
    return [run for run in runs if run is not None]


def _read(folder: Path, faults: Faults) -> Run | None:
    metrics = read_json(folder / "metrics.json", "the metrics of a finished run")
    block = next((key for key in ("subject", "utterance") if isinstance(metrics.get(key), dict)), None)
    if block is None or not isinstance(metrics[block].get("classes"), list):
        faults.add(
            folder / "metrics.json",
            found=f"keys {', '.join(metrics) or '(none)'}",
            expected="the scores of utterances (stage 1) or subjects (stage 2), with their classes",
            remedy="give folders of pretrain, evaluate or transfer",
        )
        return None
    wrong = misshapen(metrics)
    if wrong is not None:
        faults.add(
            folder / "metrics.json",
            found=wrong[:200],
            expected="what a run of sertransfer writes there",
            remedy="the file is damaged: remove it, and run the same command again",
        )
        return None
    config = read_yaml(folder / "config.yaml")
    evaluated = isinstance(config, dict) and config.get("command") == "evaluate"
    kind = "transfer" if block == "subject" else "evaluate" if evaluated else "pretrain"
    path = folder / "inputs.json"
    inputs = read_json(path, "the inputs of a run") if path.is_file() else {}
    weights = str(inputs.get("checkpoint", ""))
    if kind == "pretrain":
        written = folder / str(metrics.get("checkpoint", ""))
        weights = hash_file(written) if written.is_file() else ""
    return Run(folder, kind, metrics, str(inputs.get("manifest", "")), weights)
