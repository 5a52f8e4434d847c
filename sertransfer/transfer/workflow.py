"""Stage 2: from a manifest of interviews and an encoder, frozen or not, to decisions about subjects."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sertransfer import __version__
from sertransfer.encoders.base import Encoder
from sertransfer.encoders.registry import note_encoder, open_encoder
from sertransfer.evaluation.aggregation import ATTENTION
from sertransfer.io.files import hash_value, refuse_links, write_text
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import Manifest
from sertransfer.reporting.report import write_report
from sertransfer.timebase import Framing
from sertransfer.training_audio import TrainingAudio, write_training_audio
from sertransfer.transfer.checks.groups import judge
from sertransfer.transfer.checks.population import training_audio, write_population
from sertransfer.transfer.data import SubjectSplit, embedding_key, take_parts
from sertransfer.transfer.decide import DecidedRun, Outcome, probe_subjects
from sertransfer.transfer.embed import Embeddings, candidate_of, resting_facts, with_rest, without_rest
from sertransfer.transfer.probe.probe import write_probe
from sertransfer.transfer.scoring import PROBE, build_metrics
from sertransfer.transfer.settings import TransferConfig

if TYPE_CHECKING:
    from sertransfer.transfer.finetune.data import Task

SENTENCES = ["id", "subject", "split", "label", "score", "duration"]
"""Columns of ``sentences.csv``; one more, ``attention``, where that is learnt."""

SOURCE = ("name", "checkpoint", "layer", "fingerprint")
"""What a probe keeps of its encoder."""

SUBJECTS = ["subject", "split", "label", "score", "prediction", "sentences", "undecided", "cluster"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunInputs:
    """What a run of stage 2 reads.

    Attributes:
        whole: All sentences, those that only measure a resting state among them.
        manifest: Sentences to learn from and to score.
        parts: Their training and reported part.
        encoder: Name of the encoder.
        checkpoint: Its weights.
        run_dir: Folder of the run.
        embeddings: The encoder's embeddings, made when they are asked for.
        hashes: What a run folder is recognised by, besides the settings.
        resting: What ``metrics.json`` says of resting states.
    """

    whole: Manifest
    manifest: Manifest
    parts: tuple[SubjectSplit, SubjectSplit]
    encoder: str
    checkpoint: Path
    run_dir: Path
    embeddings: Embeddings
    hashes: dict[str, str]
    resting: dict[str, Any]

    def task(self, audio: TrainingAudio | None = None) -> Task:
        """Return what fine-tuning works on; *audio* is the fingerprint that a written network keeps."""
        from sertransfer.transfer.finetune.data import Task

        return Task(
            self.whole,
            self.parts,
            self.encoder,
            self.checkpoint,
            self.embeddings.folder,
            self.embeddings.skip_bad,
            self.embeddings.progress,
            audio,
        )

    def finished(self, run: RunFolder) -> bool:
        """Return whether *run* is done; one that left faulty sentences out is not, where they may not be."""
        if not run.finished or not (
            self.embeddings.skip_bad or not run.read_metrics()["left_out"]["embedding"]
        ):
            return False
        _log.info("%s is finished; nothing to do", run.path)
        return True


def transfer(
    config: TransferConfig,
    manifest: Manifest,
    *,
    encoder: str,
    checkpoint: Path,
    run_dir: Path,
    framing: Framing | None = None,
    embeddings: Path | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train on the split ``train``, score ``config.split``, and write the run folder.

    Args:
        config: Settings.
        manifest: Sentences with labels; ``speaker`` is the subject.
        encoder: Name of the encoder, ``ser`` for instance.
        checkpoint: Its weights.
        run_dir: Folder of the run; a finished one of the same settings and inputs is not run again.
        framing: Framing asked for; another one than the checkpoint's is refused.
        embeddings: Folder of stored embeddings, ``run_dir/embeddings`` if not given.
        skip_bad: Leave out sentences that cannot be embedded, and record them, instead of stopping.
        progress: Whether bars are shown.

    Returns:
        The content of ``metrics.json``.

    Raises:
        BadInput: If settings, manifest, checkpoint or audio are at fault, or the folder is another run's.
    """
    inputs = read_inputs(
        config,
        manifest,
        encoder=encoder,
        checkpoint=checkpoint,
        run_dir=run_dir,
        framing=framing,
        embeddings=embeddings,
        skip_bad=skip_bad,
        progress=progress,
    )
    with RunFolder(run_dir).claim(run_settings(config), inputs.hashes) as run:
        if not inputs.finished(run):
            train_and_score(config, inputs, run)
        return report_run(config, run)


def read_inputs(
    config: TransferConfig,
    manifest: Manifest,
    *,
    encoder: str,
    checkpoint: Path,
    run_dir: Path,
    framing: Framing | None = None,
    embeddings: Path | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> RunInputs:
    """Check the settings of a run, open its encoder and divide its sentences; nothing is written.

    Args and errors are those of :func:`transfer`.
    """
    config.check()
    parts = take_parts(manifest, config)
    folder = Path(run_dir) / "embeddings" if embeddings is None else Path(embeddings)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def open_layer(layer: int | None) -> Encoder:
        bare = open_encoder(encoder, Path(checkpoint), framing=framing, layer=layer, device=device)
        workers = config.embedding.workers
        return with_rest(bare, manifest, folder, workers=workers, skip_bad=skip_bad, progress=progress)

    opened = open_layer(config.layer)
    if config.mode == "finetune":
        # imported where it is needed, since Lightning takes seconds that a probe need not wait
        from sertransfer.transfer.finetune.workflow import check_finetune

        check_finetune(config, opened)
    kept = without_rest(manifest, opened, skip_bad=skip_bad)
    if len(kept) < len(manifest):
        parts = take_parts(kept, config)
    sets = Embeddings(kept, open_layer, folder, config.embedding, skip_bad, progress)
    sets.keep(config.layer, opened)
    hashes = {
        "manifest": hash_value(kept.table.to_csv(index=False)),
        "encoder": opened.fingerprint(),
        "embeddings": embedding_key(kept, opened, config.pooling),
    }
    refuse_links(folder / hashes["embeddings"])
    return RunInputs(
        whole=manifest,
        manifest=kept,
        parts=parts,
        encoder=encoder,
        checkpoint=Path(checkpoint),
        run_dir=Path(run_dir),
        embeddings=sets,
        hashes=hashes,
        resting=resting_facts(opened, manifest, kept),
    )


def run_settings(config: TransferConfig) -> dict[str, Any]:
    """Return the settings that a run folder is recognised by."""
    settings = config.by_former_names()
    del settings["embedding"]  # changes no result, so that another value may resume a run
    if config.mode == "finetune":
        settings["finetune"] = config.finetune.protocol()
    else:
        del settings["finetune"]
    return settings


def train_and_score(
    config: TransferConfig, inputs: RunInputs, run: RunFolder, tuning: dict[str, Any] | None = None
) -> None:
    """Train with *config*, score the reported split once, judge the scores and write them.

    Args:
        config: Settings, chosen ones if they were searched.
        inputs: What the run reads.
        run: Its claimed folder.
        tuning: What ``metrics.json`` is to say of the search that chose the settings.
    """
    sets, candidate = inputs.embeddings, candidate_of(config)
    opened = sets.encoder(config.layer)
    heard, shared = training_audio(inputs.manifest, *inputs.parts, opened, run.stamp, cache=sets.folder)
    write_training_audio(run.path, heard)
    described = _about(inputs, opened, config)
    del opened
    outcome: DecidedRun
    if config.mode == "finetune":
        from sertransfer.transfer.finetune.workflow import finetune_subjects

        sets.close()  # a second network would only take memory
        audio = None if heard.run is None else heard.run.after(heard.encoder)
        learnt = finetune_subjects(config, inputs.task(audio), run)
        outcome, record, left_out = learnt.outcome, learnt.record, learnt.left_out
        cache = sets.folder / inputs.hashes["embeddings"]
        cache.mkdir(exist_ok=True, mode=0o700)
    else:
        stored = sets.take(candidate)
        outcome, record, left_out = probe_subjects(inputs.parts, stored, config), {}, stored.left_out
        cache = stored.folder
    _write(run, outcome, config, {name: described[name] for name in SOURCE})
    note_encoder(run.path, inputs.encoder, inputs.checkpoint, described["fingerprint"])
    write_population(run.path, inputs.manifest, outcome.train)
    metrics = build_metrics(config, inputs.manifest, outcome, encoder=described, left_out=left_out)
    judged = judge(
        config,
        inputs.manifest,
        outcome.train,
        outcome.reported,
        sentences=outcome.sentences,
        subjects=outcome.subjects,
        cache=cache,
        progress=sets.progress,
        listen=partial(sets.listen, candidate=candidate),
    )
    searched = {} if tuning is None else {"tuning": tuning}
    run.write_metrics({**metrics, **judged, **shared, **record, **searched, **inputs.resting})
    (run.path / "report.html").unlink(missing_ok=True)


def report_run(config: TransferConfig, run: RunFolder) -> dict[str, Any]:
    """Bring a run whose scores are written to its end, and return the content of ``metrics.json``."""
    if config.mode == "finetune":  # also where a process that had finished was killed before this
        from sertransfer.transfer.finetune.workflow import remove_resume_files

        remove_resume_files(run)
    if not (run.path / "report.html").exists():
        write_report(run.path)
    return run.read_metrics()


def _about(inputs: RunInputs, opened: Encoder, config: TransferConfig) -> dict[str, Any]:
    """Return what describes the encoder, with what opens it again."""
    source = (inputs.encoder, str(inputs.checkpoint), config.layer, opened.fingerprint())
    return {**opened.describe(), **dict(zip(SOURCE, source, strict=True))}


def _write(run: RunFolder, outcome: DecidedRun, config: TransferConfig, source: dict[str, Any]) -> None:
    """Write the tables, and a probe with all that scoring another recording needs."""
    if isinstance(outcome, Outcome):
        about = {
            "classes": list(config.classes),
            "aggregation": config.method,
            **({"top_k": config.top_k} if config.aggregation == "top_k" else {}),
            "threshold": outcome.threshold,
            "pooling": config.pooling,
            "encoder": source,
            "sertransfer": __version__,
        }
        write_probe(replace(outcome.probe, about={**outcome.probe.about, **about}), run.checkpoints / PROBE)
    columns = SENTENCES + [ATTENTION] * (config.method == ATTENTION)
    tables = {
        "out_of_fold.csv": outcome.out_of_fold[columns],
        "sentences.csv": outcome.sentences[columns],
        "subjects.csv": outcome.subjects[SUBJECTS],
    }
    for name, table in tables.items():
        write_text(run.path / name, table.to_csv(index=False, lineterminator="\n"))
