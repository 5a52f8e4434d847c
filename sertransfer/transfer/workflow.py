"""Stage 2: from a manifest of interviews and an encoder, frozen or not, to decisions about subjects."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sertransfer import __version__
from sertransfer.encoders.base import Encoder
from sertransfer.encoders.registry import note_encoder, open_encoder
from sertransfer.evaluation.aggregation import ATTENTION
from sertransfer.io.files import hash_value, write_text
from sertransfer.io.run_folder import RunFolder
from sertransfer.manifest import Manifest
from sertransfer.reporting.report import write_report
from sertransfer.timebase import Framing
from sertransfer.training_audio import write_training_audio
from sertransfer.transfer.checks.groups import judge
from sertransfer.transfer.checks.population import training_audio, write_population
from sertransfer.transfer.data import Part, embedding_key, take_parts
from sertransfer.transfer.decide import Outcome, Scored, probe_subjects
from sertransfer.transfer.embed import Embeddings, candidate_of
from sertransfer.transfer.probe.probe import write_probe
from sertransfer.transfer.scoring import PROBE, build_metrics
from sertransfer.transfer.settings import TransferConfig
from sertransfer.transfer.speaker_norm import measure_now, resting_facts, with_rest, without_rest

if TYPE_CHECKING:
    from sertransfer.transfer.finetune.workflow import Search

SENTENCES = ["id", "subject", "split", "label", "score", "duration"]
"""Columns of ``sentences.csv``; one more, ``attention``, where that is learnt."""

SOURCE = ("name", "checkpoint", "layer", "fingerprint")
"""What a probe keeps of its encoder."""

SUBJECTS = ["subject", "split", "label", "score", "prediction", "sentences", "undecided", "cluster"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadResult:
    """What a head found, the settings that it stands for, and what to add to ``metrics.json``."""

    outcome: Scored
    config: TransferConfig
    record: dict[str, Any]


@dataclass(frozen=True)
class Head:
    """Another way from embeddings to decisions than the probe of the settings.

    Attributes:
        settings: Its own, which are part of what the run is recognised by.
        fit: Called with the claimed folder, the two parts and what makes the embeddings.
    """

    settings: dict[str, Any]
    fit: Callable[[RunFolder, tuple[Part, Part], Embeddings], HeadResult]


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
    head: Head | None = None,
    search: Search | None = None,
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
        skip_bad: Leave out sentences that can not be embedded, and record them, instead of stopping.
        progress: Whether bars are shown.
        head: What decides instead of the probe of the settings, for head tuning.
        search: What chooses the settings of mode ``finetune`` first.

    Returns:
        The content of ``metrics.json``.

    Raises:
        BadInput: If settings, manifest, checkpoint or audio are at fault, or the folder is another run's.
    """
    config.check()
    finetunes = config.mode == "finetune"
    if finetunes:
        # imported here and below, since Lightning takes seconds that a probe need not wait
        from sertransfer.transfer.finetune.workflow import check_finetune, remove_resume_files

        check_finetune(config, encoder)
    parts = take_parts(manifest, config)
    folder = Path(run_dir) / "embeddings" if embeddings is None else Path(embeddings)
    whole, speed = manifest, config.embedding
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def open_layer(layer: int | None) -> Encoder:
        bare = open_encoder(encoder, Path(checkpoint), framing=framing, layer=layer, device=device)
        return with_rest(bare, whole, folder, workers=speed.workers, skip_bad=skip_bad, progress=progress)

    opened = open_layer(config.layer)
    manifest = without_rest(whole, opened, skip_bad=skip_bad)
    if len(manifest) < len(whole):
        parts = take_parts(manifest, config)
    resting = resting_facts(opened, whole, manifest)
    settings = asdict(config)
    del settings["embedding"]  # changes no result, so that another value may resume a run
    if finetunes:
        settings["finetune"] = config.finetune.protocol()
    else:
        del settings["finetune"]
    tuned = search if head is None else head
    if tuned is not None:
        settings = {"transfer": settings, **tuned.settings}
    inputs = {
        "manifest": hash_value(manifest.table.to_csv(index=False)),
        "encoder": opened.fingerprint(),
        "embeddings": embedding_key(manifest, opened, config.pooling),
    }
    with RunFolder(run_dir).claim(settings, inputs) as run:
        # a run that left faulty sentences out does not count as finished where they may not be
        if run.finished and (skip_bad or not run.read_metrics()["left_out"]["embedding"]):
            _log.info("%s is finished; nothing to do", run.path)
        else:
            sets = Embeddings(manifest, open_layer, folder, speed, skip_bad, progress)
            heard, shared = training_audio(manifest, *parts, opened, run.stamp, cache=folder)
            write_training_audio(run.path, heard)
            if finetunes:
                from sertransfer.transfer.finetune.data import Task
                from sertransfer.transfer.finetune.workflow import finetune_subjects

                described = _about(encoder, checkpoint, opened, config)
                del opened  # a second network would only take memory
                learnt_from = None if heard.run is None else heard.run.after(heard.encoder)
                task = Task(whole, parts, encoder, Path(checkpoint), folder, skip_bad, progress, learnt_from)
                chosen, more = (config, {}) if search is None else search.choose(run, inputs, task)
                learnt = finetune_subjects(chosen, task, run)
                found = HeadResult(learnt.outcome, chosen, {**learnt.record, **more})
                left_out, cache = learnt.left_out, folder / inputs["embeddings"]
                cache.mkdir(exist_ok=True, mode=0o700)
            else:
                measure_now(opened)
                sets.keep(config.layer, opened)
                if head is None:
                    outcome = probe_subjects(parts, sets.take(candidate_of(config)), config)
                    found = HeadResult(outcome, config, {})
                else:
                    found = head.fit(run, parts, sets)
                stored = sets.take(candidate_of(found.config))
                left_out, cache = stored.left_out, stored.folder
                described = _about(encoder, checkpoint, sets.encoder(found.config.layer), found.config)
            _write(run, found.outcome, found.config, {name: described[name] for name in SOURCE})
            note_encoder(run.path, encoder, Path(checkpoint), described["fingerprint"])
            write_population(run.path, manifest, found.outcome.train)
            metrics = build_metrics(
                found.config, manifest, found.outcome, encoder=described, left_out=left_out
            )
            judged = judge(
                found.config,
                manifest,
                found.outcome.train,
                found.outcome.reported,
                sentences=found.outcome.sentences,
                subjects=found.outcome.subjects,
                cache=cache,
                progress=progress,
                listen=partial(sets.listen, candidate=candidate_of(found.config)),
            )
            run.write_metrics({**metrics, **judged, **shared, **found.record, **resting})
            (run.path / "report.html").unlink(missing_ok=True)
        if finetunes:  # also where a process that had finished was killed before this
            remove_resume_files(run)
        if not (run.path / "report.html").exists():
            write_report(run.path)
        return run.read_metrics()


def _about(name: str, checkpoint: Path, opened: Encoder, config: TransferConfig) -> dict[str, Any]:
    """Return what describes the encoder, with what opens it again."""
    source = (name, str(checkpoint), config.layer, opened.fingerprint())
    return {**opened.describe(), **dict(zip(SOURCE, source, strict=True))}


def _write(run: RunFolder, outcome: Scored, config: TransferConfig, source: dict[str, Any]) -> None:
    """Write the tables, and a probe with all that scoring another recording needs."""
    if isinstance(outcome, Outcome):
        about = {
            "classes": list(config.classes),
            "aggregation": config.aggregation,
            "threshold": outcome.threshold,
            "pooling": config.pooling,
            "encoder": source,
            "sertransfer": __version__,
        }
        write_probe(replace(outcome.probe, about={**outcome.probe.about, **about}), run.checkpoints / PROBE)
    columns = SENTENCES + [ATTENTION] * (config.aggregation == ATTENTION)
    tables = {
        "out_of_fold.csv": outcome.out_of_fold[columns],
        "sentences.csv": outcome.sentences[columns],
        "subjects.csv": outcome.subjects[SUBJECTS],
    }
    for name, table in tables.items():
        write_text(run.path / name, table.to_csv(index=False, lineterminator="\n"))
