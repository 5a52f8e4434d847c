"""The folder of one run: claimed by one process, recognised by content, resumed or refused."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import platform
import re
import resource
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import yaml

from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.checksums import check_record, with_hash
from sertransfer.io.files import (
    StorageError,
    hash_file,
    hash_value,
    hold,
    make_folder,
    open_own,
    refuse_links,
    regular_file,
    remove_abandoned,
    storage_error,
    write_json,
    write_text,
    writing,
)
from sertransfer.io.plain_values import parse_json, parse_yaml
from sertransfer.io.spelling import LogLine, mask_secrets

FILE = "sessions.json"

_PACKAGES = ("sertransfer", "torch", "torchaudio", "pytorch-lightning", "scikit-learn", "numpy", "espnet")
_PROGRAMS = ("sertransfer", "cli.py", "__main__.py")
_CPU_MODEL = "model name"


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """Return the sessions of the run in *folder*, the oldest first; none where the file cannot be read."""
    try:
        found = parse_json(regular_file(folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


class RunSession:
    """The work of this process on a run folder; one without an end was killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = read_sessions(folder)
        self._since = time.monotonic()
        self._entry: dict[str, Any] = {
            "command": _command(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": _machine(),
            "versions": _versions(),
        }
        self._write()

    def end(self, state: str) -> None:
        """Record that the session is over, and how; the first call counts."""
        if "state" not in self._entry:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
            self._entry |= {
                "state": state,
                "seconds": round(time.monotonic() - self._since, 1),
                "peak_memory_mb": round(peak / 1024),
            }
            self._write()

    def _write(self) -> None:
        write_json(self._folder / FILE, [*self._before, self._entry])


def _command() -> str:
    program = Path(sys.argv[0]).name
    return shlex.join(["sertransfer", *map(mask_secrets, sys.argv[1:])]) if program in _PROGRAMS else ""


def _machine() -> dict[str, Any]:
    about: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }
    torch = sys.modules.get("torch")  # a run without it has no use for a GPU
    if torch is not None and torch.cuda.is_available():
        about["gpu"] = torch.cuda.get_device_name()
    return about


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(_CPU_MODEL)), "")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout, say
            continue
    return found


EVIDENCE = (
    *("subjects.csv", "sentences.csv", "out_of_fold.csv", "outer_subjects.csv"),
    *("utterances.csv", "utterances_adversarial.csv", "trials.csv", "best.yaml", "population.json"),
    "training_audio.json",
    *("checkpoints/model.safetensors", "checkpoints/probe.safetensors"),
)
"""Files whose hashes ``metrics.json`` holds: what figures and decisions come from. A run that is repeated,
or resumed after a kill, has the same; the learning curve holds seconds and is not one of them."""

GENERATED_DATA, GENERATED_MODEL, GENERATED_BOTH = (
    "generated data",
    "model of generated data",
    "generated data and model",
)
"""What :func:`generated_remark` says of a run."""

log = logging.getLogger("sertransfer")


def generated_remark(metrics: Mapping[str, Any]) -> str:
    """Return what of a run is generated, not recorded: its data, what its model was trained on, or both.

    Args:
        metrics: Content of the run's ``metrics.json``. Runs of ``evaluate`` by earlier versions do not say
            which of the two it is; they are said to be of generated data, as they were then.

    Returns:
        A remark for tables and pages; empty where nothing is generated.
    """
    data = bool(metrics.get("generated_data", metrics.get("generated")))
    provenance = (metrics.get("encoder_details") or {}).get("provenance") or {}
    model = bool(metrics.get("generated_model", provenance.get("generated")))
    if data and model:
        return GENERATED_BOTH
    return GENERATED_DATA if data else GENERATED_MODEL if model else ""


def check_evidence(folder: Path, metrics: Mapping[str, Any], names: Iterable[str] | None = None) -> None:
    """Compare files of a finished run with their hashes in its ``metrics.json``.

    Args:
        folder: The run's.
        metrics: Content of its ``metrics.json``; one of an earlier version has no hashes, and passes.
        names: Files that are needed, relative to *folder*; all tables and the population, as far as they
            are there, if not given.

    Raises:
        BadInput: With each file that was changed since, or that is needed and gone.
    """
    recorded = metrics.get("files")
    recorded = recorded if isinstance(recorded, dict) else {}
    faults = Faults()
    for name in recorded if names is None else names:
        path = folder / name
        if names is None and path.suffix == ".safetensors":  # large, with a checksum of their own
            continue
        if name not in recorded or (names is None and not path.is_file()):
            continue
        gone = not path.is_file()
        if gone or hash_file(path) != recorded[name]:
            faults.add(
                path,
                found="no file" if gone else "a file that was changed after the run finished",
                expected="the file whose hash is in metrics.json",
                remedy="copy the run folder again from where it is whole, or run it again",
            )
    faults.raise_if_any()


class RunFolder:
    """One run's folder; everything but :meth:`claim` may be used inside the claim only."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.stamp = ""
        self._session: RunSession | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics_path(self) -> Path:
        """Path of ``metrics.json``, whose valid presence marks a finished run."""
        return self.path / "metrics.json"

    @property
    def finished(self) -> bool:
        """Whether ``metrics.json`` is whole and was written for this config and these inputs."""
        return bool(self.stamp) and self.read_metrics().get("stamp") == self.stamp

    def read_metrics(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``, empty where there is none that is whole."""
        try:
            metrics = parse_json(regular_file(self.metrics_path).read_text(encoding="utf-8"))
            if isinstance(metrics, dict):
                check_record(metrics)
        except (FileNotFoundError, ValueError):
            return {}
        return metrics if isinstance(metrics, dict) else {}

    def write_metrics(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``metrics.json`` with the run's stamp, which marks the run as finished.

        It is the run's evidence: it holds a hash of itself, and ``files``, the hashes of the tables and
        weights that it speaks of. Copies of its figures, such as the report, are made from it.
        """
        files = {name: hash_file(self.path / name) for name in self._evidence()}
        # as it will be read: a number that is a key becomes text
        plain = json.loads(json.dumps({**metrics, "files": files, "stamp": self.stamp}, allow_nan=False))
        stamped = with_hash(plain)
        write_json(self.metrics_path, stamped)
        if self._session is not None:
            self._session.end("finished")
        return stamped

    def _evidence(self) -> list[str]:
        """Return names of the run's tables, its population and its weights."""
        return sorted(name for name in EVIDENCE if (self.path / name).is_file())

    @contextmanager
    def claim(self, config: Mapping[str, Any], inputs: Mapping[str, str]) -> Iterator[RunFolder]:
        """Hold the folder for this process and record what the run is.

        Args:
            config: Resolved settings, plain nested values.
            inputs: What the run was given, as hashes or names (manifest, checkpoint ...).

        Raises:
            BadInput: If another process holds the folder, it belongs to another config or inputs, or it holds
                links. A run that stopped at bad input before it had anything to keep owns no folder: its
                correction may have this one.
            StorageError: If the disk or folder does not take what is written.
        """
        self._refuse_other(command_of(config))
        make_folder(self.path)
        refuse_links(*self.path.iterdir())
        with writing(self.path), self._lock(), self._log_file() as log_file:
            if not self._came_to_nothing:
                self._check("config.yaml", dict(config), "settings", _read_yaml(self.path / "config.yaml"))
                self._check("inputs.json", dict(inputs), "inputs", _read_json(self.path / "inputs.json"))
            write_text(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
            write_json(self.path / "inputs.json", dict(inputs))
            make_folder(self.checkpoints)
            for folder in (self.path, self.checkpoints, self.path / "plots"):
                remove_abandoned(folder)
            self.stamp = hash_value({"config": dict(config), "inputs": dict(inputs)})
            faults = self.path / "faults.json"
            with writing(faults):
                faults.unlink(missing_ok=True)
            self._session = None if self.finished else RunSession(self.path)
            try:
                yield self
            except BadInput as error:
                with contextlib.suppress(StorageError):  # without the files, the message lists every fault
                    write_json(faults, [fault.as_dict() for fault in error.faults])
                    error.report = faults
                    # to the file alone: whoever catches the exception says it to the user
                    log_file.handle(log.makeRecord(log.name, logging.ERROR, "", 0, str(error), (), None))
                raise
            finally:
                if self._session is not None:
                    with contextlib.suppress(StorageError):  # what stopped the run is to be told, not this
                        self._session.end("stopped")

    def _refuse_other(self, command: str) -> None:
        """Refuse in one line a folder that is plainly something else than a run of this command.

        Raises:
            BadInput: If the folder is another command's run, a model, a store or a corpus.
        """
        place = look_at(self.path)
        ours = place.command == command and place.kind in ("run", "unfinished")
        # commands that this module does not know decide by their settings
        if (
            place.kind in ("missing", "file", "empty", "other", "runs")
            or ours
            or (place.command and not command)
        ):
            return
        if place.kind == "unfinished" and self._came_to_nothing:
            return
        if place.kind in ("recordings", "store") and (self.path / "inputs.json").is_file():
            return
        raise bad_input(
            self.path,
            found=place.text,
            expected="a new folder, or a run of this command to go on with",
            remedy="give another --run-dir",
        )

    @property
    def _came_to_nothing(self) -> bool:
        """Whether a run stopped here at bad input, with no checkpoint and no metrics."""
        stopped = (self.path / "faults.json").is_file() and not self.metrics_path.exists()
        return stopped and not any(self.checkpoints.glob("*"))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with hold(self.path / ".lock") as holder:
            if holder is not None:
                raise bad_input(
                    self.path,
                    found=f"the run folder is held by {holder}",
                    expected="a folder that no run is using",
                    remedy="wait for that run, or give another --run-dir",
                )
            yield

    @contextmanager
    def _log_file(self) -> Iterator[logging.Handler]:
        with writing(self.path / "log.txt"):
            handler = _LogFile(self.path / "log.txt", encoding="utf-8")
        handler.setFormatter(LogLine("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        level = log.level
        log.setLevel(min(level or logging.INFO, logging.INFO))
        try:
            yield handler
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
            with writing(self.path / "log.txt"):
                handler.close()

    def _check(self, name: str, wanted: dict[str, Any], what: str, found: Any) -> None:
        """Refuse a folder whose record *name* says something else than *wanted*."""
        if found is None:
            return
        old, new = _flat(found), _flat(json.loads(json.dumps(wanted)))
        faults = Faults()
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                faults.add(
                    self.path / name,
                    found=f"{key} = {_shown(old.get(key))} of an earlier run",
                    expected=f"{_shown(new.get(key))}, as in the {what} of this command",
                    remedy="give another --run-dir, or remove the folder to start over",
                )
        faults.raise_if_any()


def _shown(value: Any) -> str:
    """Return a recorded value for a message: of a file's hash no more than tells two apart."""
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return f"the content of hash {value[:12]}"
    return repr(value)


class _LogFile(logging.FileHandler):
    """A log whose disk is full stops the run with a clear word; logging's own way is a traceback a line.

    It is not written through a link.
    """

    def _open(self) -> TextIOWrapper:
        descriptor = open_own(Path(self.baseFilename), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding=self.encoding, errors=self.errors)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        error = sys.exception()
        trouble = None if error is None else storage_error(error, self.baseFilename)
        if trouble is None:
            super().handleError(record)
        else:
            raise trouble from error


@dataclass(frozen=True)
class Place:
    """What a path leads to.

    Attributes:
        kind: ``missing``, ``file``, ``empty``, ``run`` (finished), ``unfinished`` (run), ``export``,
            ``espnet``, ``store``, ``runs`` (a folder of runs), ``recordings`` or ``other``.
        text: The same for a message, as in "found a run folder of 'sertransfer pretrain'".
        command: The command that made a run: ``pretrain``, ``evaluate``, ``transfer`` or ``tune``.
        mode: Of a finished run of stage 2, ``probe`` or ``finetune``.
    """

    kind: str
    text: str
    command: str = ""
    mode: str = ""


def look_at(path: str | Path) -> Place:
    """Return what *path* leads to, as far as names and small files tell."""
    path = Path(path)
    try:
        if not path.exists():
            return Place("missing", "no such file or folder")
        if path.is_file():
            return Place("file", "a file")
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        return Place("missing", f"what cannot be looked at ({error.strerror or error})")
    settings = _settings(path / "config.yaml") if "config.yaml" in names else {}
    if "metrics.json" in names and "config.json" in names:
        return Place("export", "a folder of 'sertransfer export'")
    metrics = _read_json(path / "metrics.json") if "metrics.json" in names else None
    if isinstance(metrics, dict) and {"subject", "utterance"} & metrics.keys():
        made_by = "transfer" if "subject" in metrics else "pretrain"
        command = command_of(settings) or made_by
        mode = str(metrics.get("mode", "probe")) if command in ("transfer", "tune") else ""
        return Place("run", f"{_run_text(command)}{f', mode {mode}' if mode else ''}", command, mode)
    if command := command_of(settings):
        return Place("unfinished", f"{_run_text(command)}, which is not finished", command)
    if "meta.yaml" in names or {"encoder", "frontend"} <= settings.keys():
        return Place("espnet", "an ESPnet experiment")
    if names & {"features.bin", "embedding.json", "values.bin"}:
        return Place("store", "a store of features or embeddings")
    runs = sum((path / name / "metrics.json").is_file() for name in sorted(names)[:_LOOKED_AT])
    if runs:
        return Place("runs", f"a folder of {runs} run folders" if runs > 1 else "a folder of one run folder")
    if not names - {".lock", "log.txt"}:
        return Place("empty", "an empty folder")
    if _has_recordings(path):
        return Place("recordings", "a folder of recordings, a corpus perhaps")
    return Place("other", "a folder that holds no run")


def command_of(settings: Mapping[str, Any]) -> str:
    """Return the command that writes such a ``config.yaml``, nothing if none does."""
    if settings.get("command") == "evaluate":
        return "evaluate"
    if isinstance(settings.get("transfer"), dict):
        return "tune"
    if {"probe", "threshold", "aggregation"} <= settings.keys():
        return "transfer"
    if {"front_end", "optimiser", "classes"} <= settings.keys():
        return "pretrain"
    return ""


_STAGES = {"pretrain": 1, "evaluate": 1, "transfer": 2, "tune": 2}
_LOOKED_AT = 500
"""Entries of a folder that are looked at to tell what it is."""
_RECORDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".m4a", ".mp4")


def _run_text(command: str) -> str:
    return f"a run folder of stage {_STAGES[command]} ('sertransfer {command}')"


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = _read_yaml(path)
    except OSError:
        return {}
    return found if isinstance(found, dict) else {}


def _has_recordings(path: Path) -> bool:
    """Return whether recordings lie in *path* or near below it."""
    found = itertools.chain(path.glob("*"), path.glob("*/*"), path.glob("*/*/*"))
    return any(entry.suffix.lower() in _RECORDINGS for entry in itertools.islice(found, _LOOKED_AT))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, below in value.items():
        flat.update(_flat(below, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _read_yaml(path: Path) -> Any:
    try:
        return parse_yaml(regular_file(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        return None
    except ValueError:
        return {"(unreadable)": True}


def _read_json(path: Path) -> Any:
    try:
        return parse_json(regular_file(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        return None
    except ValueError:
        return {"(unreadable)": True}
