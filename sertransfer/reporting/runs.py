"""Finished run folders, read for tables, pages and Python; what is damaged is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.checksums import check_record
from sertransfer.io.files import hash_file, regular_file
from sertransfer.io.plain_values import parse_json, parse_yaml
from sertransfer.io.run_folder import GENERATED_MODEL, check_evidence, generated_remark, look_at

_NAMES = ("id", "subject", "label", "prediction")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Return the JSON object at *path*, which should be *what*; ``BadInput`` if it is not, or was changed."""
    try:
        value = parse_json(regular_file(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise _no_run(path, what) from None
    except ValueError as error:
        raise bad_input(path, found=f"broken JSON ({error})", expected=what, remedy="run again") from None
    if not isinstance(value, dict):
        return {}
    try:
        check_record(value)
    except ValueError:
        raise bad_input(
            path,
            found="values that were changed since they were written (the checksum differs)",
            expected=what,
            remedy="copy it again from where it is whole, or run again",
        ) from None
    return value


def _no_run(path: Path, what: str) -> BadInput:
    """Return the exception for a file that a run folder lacks, or for a folder that is none."""
    folder = path.parent
    place = look_at(folder)
    remedies = {
        "missing": "check the path",
        "unfinished": "finish the run first: the same command goes on with it",
        "runs": "name one of them",
        "run": "run the command that made this folder again",
    }
    if place.kind == "missing":
        return bad_input(folder, found="no such run folder", expected=what, remedy=remedies["missing"])
    remedy = remedies.get(place.kind, "give a --run-dir, and finish the run first")
    if place.kind == "run":
        return bad_input(path, found="no file", expected=what, remedy=remedy)
    return bad_input(folder, found=place.text, expected=what, remedy=remedy)


def read_yaml(path: Path) -> Any:
    """Return the values of the YAML file at *path*, none where there is no file."""
    try:
        return parse_yaml(regular_file(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except ValueError:
        return {path.name: "cannot be read"}


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Return the CSV at *path*; ``BadInput`` if it cannot be read or lacks one of *columns*."""
    try:
        table = pd.read_csv(regular_file(path), dtype=dict.fromkeys(_NAMES, str))
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first cells for names of rows
            raise ValueError("rows of more cells than the header has columns")
    except (OSError, ValueError) as error:
        raise bad_input(
            path, found=f"no table ({type(error).__name__})", expected="a run's table", remedy="run again"
        ) from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise bad_input(
            path, found=f"no column {', '.join(missing)}", expected="a run's table", remedy="run again"
        )
    return table


BLOCKS = ("majority", "utterance", "sentence", "subject")
TEXTS = ("model", "corpus", "encoder", "mode", "split")


def misshapen(metrics: Mapping[str, Any]) -> str | None:
    """Return what in *metrics* is not of its kind, with its name; ``None`` if nothing is."""
    for name in TEXTS:
        if not (metrics.get(name) is None or isinstance(metrics[name], str)):
            return f"{name} = {metrics[name]!r}"
    attacked = metrics.get("adversarial")
    if not (attacked is None or isinstance(attacked, dict)):
        return f"adversarial = {attacked!r}"
    blocks = {name: metrics[name] for name in BLOCKS if name in metrics}
    if attacked is not None:
        blocks["adversarial.utterance"] = attacked.get("utterance")
    for name, block in blocks.items():
        if not isinstance(block, dict):
            return f"{name} = {block!r}"
        for key, right in _KINDS.items():
            if block.get(key) is not None and not right(block[key]):
                return f"{name}.{key} = {block[key]!r}"
        sizes = {len(block[key]) for key in ("classes", "confusion") if block.get(key) is not None}
        if len(sizes) > 1:
            return f"{name}.confusion of another size than its classes"
    return None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_number(end) for end in value)


def _square(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and len(row) == len(value) and all(_number(count) for count in row)
        for row in value
    )


_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("n", "wa", "ua", "macro_f1", "sensitivity", "specificity", "auroc"), _number),
    **dict.fromkeys(("wa_ci95", "ua_ci95"), _interval),
    **dict.fromkeys(("classes", "absent"), _names),
    "confusion": _square,
}


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


TABLES = ("utterances", "sentences", "subjects", "out_of_fold", "epochs", "trials")
"""CSV files of a run; which of them are there depends on the stage and mode."""


@dataclass(frozen=True)
class OpenedRun:
    """A finished run.

    Attributes:
        path: Its folder.
        metrics: The content of ``metrics.json``. Accuracies, intervals and areas are shares of 1; what is
            undefined is ``None``.
        config: The resolved settings, nested.
        tables: The run's tables by name: ``utterances`` (stage 1), ``sentences``, ``subjects`` and
            ``out_of_fold`` (stage 2), ``epochs`` and ``trials`` where something was trained or searched.
            Ids, speakers and subjects are text; scores are from 0 to 1; durations are seconds.
    """

    path: Path
    metrics: dict[str, Any]
    config: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def open_run(run_dir: str | Path) -> OpenedRun:
    """Read a finished run of any command that leaves a run folder.

    Args:
        run_dir: The folder.

    Returns:
        The run; a table that its command does not write is not among the tables.

    Raises:
        BadInput: If the folder has no ``metrics.json``, or it or a table is damaged.
    """
    path = Path(run_dir)
    metrics, config = (
        read_json(path / "metrics.json", "the scores of a finished run"),
        read_yaml(path / "config.yaml"),
    )
    check_evidence(path, metrics)
    text = dict.fromkeys(("id", "speaker", "subject"), "string")
    tables = {}
    for name in TABLES:
        file = path / f"{name}.csv"
        if not file.exists():
            continue
        try:
            tables[name] = pd.read_csv(regular_file(file), dtype=text)
        except (ValueError, OSError) as error:
            raise bad_input(
                file,
                found=f"a table that cannot be read ({type(error).__name__})",
                expected="the CSV that the run wrote",
                remedy="run the command again with another run folder",
            ) from None
    return OpenedRun(path, metrics, config, tables)
