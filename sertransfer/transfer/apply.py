"""What a finished run of stage 2 makes of other sentences: scores, by what the run keeps and its encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sertransfer.audio.reading import read_segment
from sertransfer.audio.speaker_norm import uses_rest
from sertransfer.encoders.registry import reopen_encoder
from sertransfer.encoders.sentence_model import SentenceModel, load_sentence_model
from sertransfer.errors import BadInput, Fault, Faults, bad_input
from sertransfer.evaluation.aggregation import ATTENTION
from sertransfer.front_end import FrontEnd
from sertransfer.io.checksums import check_record
from sertransfer.io.files import regular_file
from sertransfer.io.plain_values import parse_json
from sertransfer.io.progress import tracked
from sertransfer.io.run_folder import check_evidence, look_at
from sertransfer.manifest import Manifest
from sertransfer.reporting.runs import read_json
from sertransfer.timebase import samples_to_seconds
from sertransfer.training_audio import FILE as TRAINING_AUDIO
from sertransfer.training_audio import RunTrainingAudio, read_training_audio
from sertransfer.transfer.checks.population import FILE as POPULATION
from sertransfer.transfer.data import take_sentences
from sertransfer.transfer.embed import embed
from sertransfer.transfer.embedding_store import raise_faults
from sertransfer.transfer.probe.probe import read_probe
from sertransfer.transfer.scoring import PROBE

NETWORK = "model.safetensors"
"""Name of a fine-tuned network in the run's ``checkpoints`` folder."""


@dataclass(frozen=True)
class Scores:
    """Scored sentences: columns ``id, score, duration``, perhaps ``attention``; and those left out."""

    table: pd.DataFrame
    left_out: list[dict[str, str]]


Score = Callable[[Manifest, Path, bool, bool], Scores]
"""Takes sentences, a folder for what is computed on the way, ``skip_bad`` and ``progress``."""


@dataclass(frozen=True)
class Predictor:
    """A finished run of stage 2 that scores other recordings.

    Attributes:
        run_dir: Its folder.
        metrics: Its ``metrics.json``.
        population: What it was trained on; ``None`` for a run that does not say.
        score: Scores sentences.
        heard: Fingerprints of the audio that the run and its encoder were trained on.
    """

    run_dir: Path
    metrics: Mapping[str, Any]
    population: Mapping[str, Any] | None
    score: Score
    heard: RunTrainingAudio

    @property
    def classes(self) -> tuple[str, str]:
        """The negative and the positive label."""
        negative, positive = self.metrics["classes"]
        return negative, positive

    @property
    def threshold(self) -> float:
        """From which score of a subject on the decision is positive."""
        return float(self.metrics["threshold"]["value"])


def open_predictor(run_dir: Path, *, checkpoint: Path | None = None) -> Predictor:
    """Open a run of mode ``probe`` or ``finetune``, tuned or not.

    Args:
        run_dir: Folder of a finished run of stage 2.
        checkpoint: The encoder's weights, if they are no longer where the run found them.

    Raises:
        BadInput: If the run is not finished, its encoder is not there or has changed, or it takes a resting
            state of each speaker, which a recording alone does not give.
    """
    run_dir = Path(run_dir)
    metrics = read_json(run_dir / "metrics.json", "the metrics of a finished run")
    needed = ("subject", "classes", "threshold", "aggregation", "mode", "counts", "encoder_details")
    if missing := [key for key in needed if key not in metrics]:
        place = look_at(run_dir)
        stage_2 = place.command in ("transfer", "tune")
        raise bad_input(
            run_dir,
            found=f"{place.text} whose metrics have no {', '.join(missing)}" if stage_2 else place.text,
            expected="a finished run of 'sertransfer transfer' or 'tune'",
            remedy="give such a run, or run it again with this version",
        )
    weights = PROBE if metrics["mode"] != "finetune" else NETWORK
    check_evidence(run_dir, metrics, [POPULATION, TRAINING_AUDIO, f"checkpoints/{weights}"])
    opener = _finetuned if metrics["mode"] == "finetune" else _probe
    score = opener(run_dir, metrics, checkpoint)
    return Predictor(run_dir, metrics, _read_population(run_dir), score, read_training_audio(run_dir))


def _read_population(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / POPULATION
    try:
        found = parse_json(regular_file(path).read_text(encoding="utf-8"))
        check_record(found)
        known = {"ranges", "sample_rates", "subjects", "cutting"} <= set(found)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        known = False
    if not known:
        raise bad_input(
            path,
            found="no description of a run's training data, or one that was changed",
            expected="what 'transfer' wrote",
            remedy="remove this file to go without it",
        )
    return dict(found)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _probe(run_dir: Path, metrics: Mapping[str, Any], checkpoint: Path | None) -> Score:
    path = run_dir / "checkpoints" / PROBE
    probe = read_probe(path)
    check_agreement(path, probe.about, metrics)
    source = probe.about.get("encoder", {})
    if missing := {"name", "checkpoint", "layer", "fingerprint"} - set(source):
        raise bad_input(
            path,
            found=f"a probe that does not say its encoder's {', '.join(sorted(missing))}",
            expected="one that this version wrote",
            remedy="run 'sertransfer transfer' again",
        )
    encoder, weights = reopen_encoder(run_dir, source, checkpoint, device=_device())
    if encoder.by_speaker:
        raise _needs_rest(weights)

    def score(manifest: Manifest, folder: Path, skip_bad: bool, progress: bool) -> Scores:
        stored = embed(
            manifest,
            encoder,
            folder,
            pooling=probe.about["pooling"],
            skip_bad=skip_bad,
            progress=progress,
        )
        vectors = np.asarray(stored.vectors)
        table = pd.DataFrame({"id": stored.ids, "score": probe.score(vectors), "duration": stored.durations})
        if metrics["aggregation"] == ATTENTION:
            speakers = manifest.table.set_index("id")["speaker"]
            table[ATTENTION] = probe.attend(vectors, speakers.loc[stored.ids].tolist())
        return Scores(table, stored.left_out)

    return score


def check_agreement(path: Path, sealed: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Compare what the weights at *path* and their run's *metrics* both say of how a subject is decided.

    Args:
        path: The weights, for messages.
        sealed: What they say.
        metrics: Content of ``metrics.json``.

    Raises:
        BadInput: With everything that differs: one of the files is of another run, or was changed.
    """
    faults = Faults()
    said = {**metrics, "threshold": (metrics.get("threshold") or {}).get("value")}
    for name in ("threshold", "aggregation", "top_k", "classes"):
        if name in sealed and sealed[name] != said.get(name):
            faults.add(
                path.parent.parent / "metrics.json",
                found=f"{name} {said.get(name)}",
                expected=f"{sealed[name]}, as {path.name} has it",
                remedy="copy the run folder again from where it is whole, or run it again",
            )
    faults.raise_if_any()


def decision_of(model: SentenceModel) -> dict[str, Any]:
    """Return what a fine-tuned network says of how a subject is decided, see :func:`check_agreement`."""
    tuned = model.provenance.get("finetune")
    values = {
        **model.provenance,
        **(tuned if isinstance(tuned, dict) else {}),
        "classes": list(model.classes),
    }
    return {name: values[name] for name in ("threshold", "aggregation", "top_k", "classes") if name in values}


def _needs_rest(where: Path) -> BadInput:
    return bad_input(
        where,
        found="a front end that takes out each speaker's resting state",
        expected="an encoder that scores a recording by itself",
        remedy="score new subjects with 'sertransfer transfer', resting recordings marked in the manifest",
    )


def _finetuned(run_dir: Path, metrics: Mapping[str, Any], checkpoint: Path | None) -> Score:
    path = run_dir / "checkpoints" / NETWORK
    if checkpoint is not None:
        raise bad_input(
            "--checkpoint",
            found="the weights of an encoder, for a fine-tuned run",
            expected="nothing: the run keeps its own network",
            remedy="leave it out",
        )
    front_end = metrics["encoder_details"].get("front_end")
    if front_end is not None and uses_rest(FrontEnd.from_dict(front_end)):
        raise _needs_rest(path)
    model = load_sentence_model(path, device=_device())
    check_agreement(path, decision_of(model), metrics)

    def score(manifest: Manifest, folder: Path, skip_bad: bool, progress: bool) -> Scores:
        rows: list[tuple[str, float, float]] = []
        faults: list[tuple[str, Fault]] = []
        for sentence in tracked(take_sentences(manifest), "scoring", unit="sentences", shown=progress):
            try:
                waveform = read_segment(
                    sentence.source,
                    sentence.start,
                    sentence.end,
                    sample_rate=model.encoder.sample_rate,
                    gain=sentence.gain,
                )
                if len(waveform) < model.encoder.shortest:
                    raise BadInput(sentence.too_short(len(waveform), model.encoder.shortest))
                seconds = samples_to_seconds(len(waveform), model.encoder.sample_rate)
                if model.encoder.front_end and sentence.start is not None and sentence.end is not None:
                    seconds = sentence.end - sentence.start  # as the run has it, to the last digit
                rows.append((sentence.id, model.score(torch.from_numpy(waveform)), seconds))
            except BadInput as error:
                faults.append((sentence.id, error.faults[0]))
        if not (skip_bad and rows):
            raise_faults(faults)
        left_out = [{"item": item, "reason": str(fault)} for item, fault in faults]
        return Scores(pd.DataFrame(rows, columns=["id", "score", "duration"]), left_out)

    return score
