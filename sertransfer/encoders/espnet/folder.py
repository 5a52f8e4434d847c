"""Reading an ESPnet2 experiment: a folder, or an ``espnet_model_zoo`` archive.

A folder holds ``config.yaml`` and one or more model files; an archive says in ``meta.yaml`` which of its
members these are. Archives are read in place. The file with the statistics of global normalisation is named
by the config, relative to the folder that ESPnet ran in, which is some folder above the experiment's own.
"""

from __future__ import annotations

import io
import lzma
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from torch import Tensor

from sertransfer.encoders.base import read_weights
from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.files import refuse_twins, regular_file
from sertransfer.io.plain_values import parse_yaml
from sertransfer.io.run_folder import look_at
from sertransfer.models.safe_pickle import LIGHTNING, WEIGHTS_ALONE, is_lightning

CONFIG = "config.yaml"
META = "meta.yaml"
TASKS = ("asr", "s2t", "slu")
"""Tasks of ESPnet whose models have the same front end, normalisation and encoders."""
LARGEST = 16 * 2**30
"""Bytes of a member at most; an archive may claim to unpack to anything."""
SMALL = 256 * 2**20
"""Bytes of a config or of statistics at most."""
RATIO = 50
"""How much smaller a large member can be packed: weights hardly pack at all, zeros a thousand fold."""
_ABOVE = 4
"""Folders above the experiment's own that paths in a config are tried from."""


@dataclass(frozen=True)
class Experiment:
    """What an encoder is built from.

    Attributes:
        where: Path given, for messages.
        config: Content of ``config.yaml``.
        weights: The model's state dict.
        model_file: Name of the file that the weights are from.
        statistics: Bytes of the normalisation's statistics file, if the config names one.
    """

    where: str
    config: dict[str, Any]
    weights: dict[str, Tensor]
    model_file: str
    statistics: bytes | None


_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
)
"""What zipfile raises on bytes that are not as they were written."""


def _not_whole(where: object, error: Exception) -> BadInput:
    return bad_input(
        where,
        found=f"what cannot be unpacked ({type(error).__name__})",
        expected="a whole archive",
        remedy="copy or download it again",
    )


class _Source(Protocol):
    where: str
    names: tuple[str, ...]

    def open(self, name: str) -> BinaryIO: ...

    def find(self, path: str) -> str | None: ...


class _Folder:
    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.path = path
        self.names = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_file()))

    def open(self, name: str) -> BinaryIO:
        return regular_file(self.path / name).open("rb")

    def find(self, path: str) -> str | None:
        """Return the file that a config calls *path*: from here or a folder above, or else in here."""
        home = self.path.resolve()
        tries = [folder / path for folder in (home, *list(home.parents)[:_ABOVE])]
        tries.append(home / PurePosixPath(path).name)
        return next((str(candidate) for candidate in tries if candidate.is_file()), None)


class _Archive:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.where = str(path)
        self._archive = archive
        try:
            refuse_twins(archive)
        except zipfile.BadZipFile as error:
            raise bad_input(
                path, found=str(error), expected="each name once", remedy="pack the model again"
            ) from None
        # a ZIP made on Windows may have backslashes between folders
        self._members = {info.filename.replace("\\", "/"): info for info in archive.infolist()}
        self.names = tuple(self._members)
        faults = Faults()
        for info in archive.infolist():
            parts = PurePosixPath(info.filename.replace("\\", "/")).parts
            if ".." in parts or info.filename.startswith(("/", "\\")):
                found, expected = f"a member named '{info.filename}'", "names below the archive's top"
            elif info.flag_bits & 1 or info.file_size > min(LARGEST, SMALL + RATIO * info.compress_size):
                found, expected = f"'{info.filename}', encrypted or of impossible size", "plain members"
            else:
                continue
            faults.add(path, found=found, expected=expected, remedy="pack the model again")
        faults.raise_if_any()

    def open(self, name: str) -> BinaryIO:
        member = self._members[name]
        size = member.file_size
        if size > SMALL and name.endswith((".yaml", ".npz")):
            raise bad_input(
                f"{self.where}:{name}",
                found=f"a member of {size} bytes",
                expected=f"at most {SMALL}",
                remedy="pack the model again",
            )
        try:
            return io.BytesIO(self._archive.read(member))
        except _DAMAGED as error:
            raise _not_whole(f"{self.where}:{name}", error) from None

    def find(self, path: str) -> str | None:
        """Return the member that a config calls *path*, by its whole name or else by its last part."""
        name = posixpath.normpath(path.replace("\\", "/"))
        if name in self.names:
            return name
        same = [member for member in self.names if PurePosixPath(member).name == PurePosixPath(name).name]
        return same[0] if len(same) == 1 else None


def read_experiment(path: Path) -> Experiment:
    """Read an experiment folder, a model file in one, or a model archive.

    Of a folder's model files the first of these is taken: an average over a number of epochs
    (``valid.acc.ave_10best.pth``), one without a number (``valid.acc.ave.pth``), the latest average that
    was made while training went on (``valid.acc.ave_5best.till45epoch.pth``), the best epoch
    (``valid.acc.best.pth``), ``latest.pth``, the last epoch (``12epoch.pth``). Of several of a kind, the
    criterion that comes first in the config's ``best_model_criterion`` decides, then the greater number of
    epochs. To use another, give its path.

    Raises:
        BadInput: If a part is missing (all that are, at once), is not what it must be, or an archive has
            names that lead out of it.
    """
    if path.is_dir():
        folder = _Folder(path)
        if CONFIG not in folder.names and META in folder.names:
            return _read_packed(folder)
        place = look_at(path)
        if (CONFIG not in folder.names and place.kind not in ("other", "empty")) or place.command:
            raise bad_input(
                path,
                found=place.text,
                expected="an ESPnet2 experiment folder or model archive",
                remedy="check --encoder and --checkpoint",
            )
        return _read_parts(folder, CONFIG, lambda config: choose_model(folder.names, config))
    if not path.is_file():
        raise bad_input(
            path,
            found="nothing there",
            expected="an ESPnet2 experiment folder or model archive",
            remedy="check --checkpoint",
        )
    if is_lightning(path):
        raise bad_input(
            path,
            found=LIGHTNING,
            expected="an ESPnet2 experiment folder, a model file in it, or a model archive",
            remedy=f"{WEIGHTS_ALONE} beside its config.yaml",
        )
    if zipfile.is_zipfile(path) and path.suffix not in (".pth", ".pt"):  # torch's own files are zips too
        try:
            archive = zipfile.ZipFile(regular_file(path))
        except _DAMAGED as error:
            raise _not_whole(path, error) from None
        with archive:
            return _read_packed(_Archive(path, archive))
    if path.suffix in (".pth", ".pt"):
        return _read_parts(_Folder(path.parent), CONFIG, lambda config: path.name)
    raise bad_input(
        path,
        found=f"a {path.suffix or 'nameless'} file that is no whole ZIP archive",
        expected="a folder with config.yaml, a model file in it, or an espnet_model_zoo ZIP",
        remedy="unpack it, or copy it again, and give the folder",
    )


def _read_packed(source: _Source) -> Experiment:
    """Read what ``meta.yaml`` lists."""
    meta = next((name for name in source.names if PurePosixPath(name).name == META), None)
    if meta is None:
        raise bad_input(
            source.where,
            found=f"no {META}",
            expected="an archive that ESPnet packed",
            remedy="give a model of espnet_model_zoo, or the experiment's folder",
        )
    content = _read_yaml(source, meta)
    faults = Faults()
    found: list[str] = []
    task = _task(content)
    for group, key in (("yaml_files", f"{task}_train_config"), ("files", f"{task}_model_file")):
        listed = content.get(group)
        name = listed.get(key) if isinstance(listed, dict) else None
        located = source.find(name) if isinstance(name, str) else None
        if located is None:
            faults.add(
                f"{source.where}:{meta}",
                found=f"no {key}" if name is None else f"{key} '{name}', which is not there",
                expected=f"{group}.{key}, the name of a file beside it",
                remedy=f"use a model of the tasks {', '.join(TASKS)} that was packed whole",
            )
        else:
            found.append(located)
    faults.raise_if_any()
    return _read_parts(source, found[0], lambda config: found[1])


def _task(meta: dict[str, Any]) -> str:
    """Return the task whose files ``meta.yaml`` lists, the first of :data:`TASKS` where it lists none's."""
    listed = {
        str(key)
        for group in ("yaml_files", "files")
        for key in (meta[group] if isinstance(meta.get(group), dict) else ())
    }
    named = (task for task in TASKS if {f"{task}_train_config", f"{task}_model_file"} & listed)
    return next(named, TASKS[0])


def _read_parts(
    source: _Source, config_file: str, choose: Callable[[dict[str, Any]], str | None]
) -> Experiment:
    faults = Faults()
    config: dict[str, Any] = {}
    try:
        config = _read_yaml(source, config_file)
    except FileNotFoundError:
        _missing(faults, source, f"no {config_file}", "the config that ESPnet writes beside the model")
    except BadInput as error:
        faults.extend(error.faults)
    model = choose(config)
    if model is None:
        _missing(faults, source, "no model file", "one such as valid.acc.ave_10best.pth")
    statistics = None
    if config.get("normalize") == "global_mvn":
        conf = config.get("normalize_conf")
        path = conf.get("stats_file") if isinstance(conf, dict) else None
        located = source.find(path) if isinstance(path, str) and path.endswith(".npz") else None
        if located is None:
            _missing(faults, source, f"no {path or 'stats_file'}", "the statistics of global normalisation")
        else:
            with source.open(located) as stream:
                statistics = stream.read(SMALL)  # the config of somebody else may name any file
    faults.raise_if_any()
    with source.open(str(model)) as stream:
        weights = read_weights(stream, f"{source.where}: {model}")
    return Experiment(source.where, config, weights, str(model), statistics)


def _missing(faults: Faults, source: _Source, found: str, expected: str) -> None:
    faults.add(source.where, found=found, expected=expected, remedy="copy the whole experiment")


def _read_yaml(source: _Source, name: str) -> dict[str, Any]:
    try:
        with source.open(name) as stream:
            content = parse_yaml(stream)
    except ValueError as error:
        text = " ".join(str(error).split())[:200]
        found = f"no YAML of plain values ({text})"
    else:
        if isinstance(content, dict):
            return content
        found = f"a {type(content).__name__}"
    raise bad_input(
        f"{source.where}: {name}",
        found=found,
        expected="keys and plain values; nothing is built from tags",
        remedy="use the file that ESPnet wrote",
    )


def choose_model(names: Iterable[str], config: dict[str, Any]) -> str | None:
    """Return the model file to take, by the rule of :func:`read_experiment`; ``None`` if there is none."""
    files = sorted(names)
    criteria = config.get("best_model_criterion")
    stems = [
        f"{one[0]}.{one[1]}"
        for one in (criteria if isinstance(criteria, list) else [])
        if isinstance(one, list) and len(one) >= 2
    ]
    pattern = re.compile(r"((?:valid|train)\.\w+)\.(?:ave_(\d+)best|(ave)|(best))(?:\.till(\d+)epoch)?\.pth")
    matches = [match for name in files if (match := pattern.fullmatch(name))]
    stems += sorted({match[1] for match in matches} - set(stems), key=lambda stem: (stem[0] != "v", stem))

    def rank(match: re.Match[str]) -> tuple[int, int, int, int]:
        until = int(match[5] or 0)  # such an average was made while training went on
        kind = 3 if match[4] else 2 if until else 1 if match[3] else 0
        return kind, -until, stems.index(match[1]), -int(match[2] or 0)

    if matches:
        return min(matches, key=rank)[0]
    if "latest.pth" in files:
        return "latest.pth"
    epochs = [(int(match[1]), name) for name in files if (match := re.fullmatch(r"(\d+)epoch\.pth", name))]
    return max(epochs)[1] if epochs else None
