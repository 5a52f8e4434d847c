"""The command ``predict``: a run, or a model of stage 1, on new recordings."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sertransfer.cli.options import CommandResult, Commands, Overrides, skip_bad
from sertransfer.errors import Faults, bad_input


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = commands.add(
        "predict",
        run_predict,
        "score new interviews with a run of stage 2, or files with a model of stage 1",
        settings="Settings of how transcripts are cut, as --name VALUE: overlaps, merge, merge_gap, minimum,"
        " keep_nonverbal, level_normalise, level_dbfs; by default as the training corpus was.",
        own_json=True,
    )
    command.add_argument(
        "run_dir", type=Path, metavar="RUN", help="run folder of either stage, or a model.safetensors"
    )
    command.add_argument("audio", type=Path, nargs="+", help="recordings, or folders of them")
    command.add_argument(
        "--transcript",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="transcript in DAIC-WOZ's or E-DAIC's form, once for each recording in their order (default:"
        " X_TRANSCRIPT.csv beside X_AUDIO.wav; without one, cuts by voice activity)",
    )
    command.add_argument(
        "--voice-activity", action="store_true", help="cut by voice activity, whatever transcripts there are"
    )
    command.add_argument("--checkpoint", type=Path, help="the encoder's weights, if they were moved")
    command.add_argument("--html", type=Path, metavar="OUT", help="page with a timeline of each recording")
    command.add_argument(
        "--csv",
        type=Path,
        metavar="OUT",
        help="a row a sentence; beside it OUT_recordings, a row a recording",
    )
    command.add_argument(
        "--json",
        nargs="?",
        const=True,
        default=False,
        metavar="OUT",
        help="everything as JSON to this file; without a file, to standard output and nothing else there",
    )
    command.add_argument(
        "--with-text", action="store_true", help="keep what was said in the outputs: it is clinical data"
    )
    skip_bad(command)


def run_predict(args: argparse.Namespace, overrides: Overrides) -> CommandResult:
    """Score recordings."""
    _check_outputs(args)
    model = _model_of_stage_1(args.run_dir)
    if model is not None:
        _refuse_for_stage_1(args, overrides)
        return _emotions(args, model)
    from sertransfer.reporting.prediction_page import (
        prediction_text,
        recordings_path,
        write_prediction_page,
        write_prediction_tables,
    )
    from sertransfer.transfer.predict import predict

    found = predict(
        args.run_dir,
        args.audio,
        transcripts=args.transcript,
        checkpoint=args.checkpoint,
        overrides=overrides,
        voice_activity=args.voice_activity,
        with_text=args.with_text,
        skip_bad=args.skip_bad,
        progress=not args.quiet,
    )
    files = _write(args, found, write_prediction_tables)
    if args.csv is not None:
        files["recordings"] = recordings_path(args.csv)
    if args.html is None:
        return CommandResult(found, prediction_text(found), files)
    files["page"] = args.html
    page = partial(write_prediction_page, found, args.html)
    return CommandResult(found, prediction_text(found), files, pages=page)


def _write(
    args: argparse.Namespace, found: dict[str, Any], write_table: Callable[[dict[str, Any], Path], None]
) -> dict[str, Path]:
    from sertransfer.io.files import write_json

    files: dict[str, Path] = {}
    if args.csv is not None:
        write_table(found, args.csv)
        files["scores"] = args.csv
    if isinstance(args.json, str):
        write_json(args.json, found)
        files["JSON"] = Path(args.json)
    return files


def _emotions(args: argparse.Namespace, model: Path) -> CommandResult:
    from sertransfer.audio.recordings import find_audio, name_others
    from sertransfer.pretraining.predict import predict_emotions
    from sertransfer.reporting.prediction_page import emotions_text, write_emotion_table

    found = predict_emotions(model, find_audio(args.audio), skip_bad=args.skip_bad, progress=not args.quiet)
    found["not_scored"] = name_others(args.audio)
    return CommandResult(found, emotions_text(found), _write(args, found, write_emotion_table))


def _model_of_stage_1(given: Path) -> Path | None:
    """Return the model where a file or a run folder of stage 1 was given, ``None`` for stage 2."""
    from sertransfer.reporting.runs import read_json

    if given.is_file():
        return given
    if "utterance" in read_json(given / "metrics.json", "a finished run, or the path of a model"):
        from sertransfer.models.checkpoint import checkpoint_file

        return checkpoint_file(given)
    return None


def _refuse_for_stage_1(args: argparse.Namespace, overrides: Overrides) -> None:
    given = {
        "--transcript": bool(args.transcript),
        "--voice-activity": args.voice_activity,
        "--checkpoint": args.checkpoint is not None,
        "--html": args.html is not None,
        "--with-text": args.with_text,
        **{f"--{name}": True for name in overrides},
    }
    faults = Faults()
    for option in (name for name, there in given.items() if there):
        faults.add(
            option,
            found="a model of stage 1, which takes each file as one utterance",
            expected="a run folder of stage 2 with this option",
            remedy="leave it out",
        )
    faults.raise_if_any()


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse an output whose ending is another's: a recording named behind --json would be written over."""
    for option, ending in (("html", ".html"), ("csv", ".csv"), ("json", ".json")):
        path = getattr(args, option)
        if isinstance(path, str | Path) and Path(path).suffix.lower() != ending:
            raise bad_input(
                f"--{option}",
                found=f"'{path}'",
                expected=f"a file that ends in {ending}",
                remedy="name one; put options without a value behind the recordings",
            )
