"""A feature store built in parts ``i/n``, on as many machines that share a file system.

Part ``i`` computes a run of rows of the manifest into ``CACHE/.parts/<key>/<i>-of-<n>``; the last one joins
all into the very store that a single run would have built: the same features, index, record and hash. A part
or store is renamed to its place when it is whole, and who comes second finds it there. So several machines
need no lock in common, but for measuring resting states, and a killed part leaves nothing that counts: it is
made again.
"""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from sertransfer.audio.extraction import extract
from sertransfer.audio.keys import store_key
from sertransfer.audio.part_files import join_parts, write_part
from sertransfer.audio.planning import make_plan
from sertransfer.audio.resting import Resting, uses_rest
from sertransfer.audio.store import FeatureStore, measure_resting
from sertransfer.audio.store_files import (
    parts_folder,
    refuse_faults,
    renamed_when_whole,
    write_index,
    write_meta,
)
from sertransfer.errors import BadInput, bad_input
from sertransfer.front_end import FrontEnd
from sertransfer.manifest import Manifest, check_recordings
from sertransfer.sharding import Shard

_PART = re.compile(r"\d+-of-(\d+)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """How features are computed: processes (0 = this one), whether faulty utterances may go, and a bar."""

    workers: int = 0
    skip_bad: bool = False
    progress: bool = True


class StoreParts:
    """The parts of the store of *manifest* under *front_end* in the cache folder *cache*.

    Args:
        manifest: All utterances of the store.
        front_end: How their features are computed.
        cache: The cache folder.
        rest: As in :func:`sertransfer.audio.store.build_store`.
        work: How.

    Attributes:
        target: The store's own folder.
        folder: Where the parts lie.
    """

    def __init__(
        self,
        manifest: Manifest,
        front_end: FrontEnd,
        cache: Path,
        *,
        rest: Manifest | None = None,
        work: Work | None = None,
    ) -> None:
        self._manifest, self._front_end, self._cache = manifest, front_end, Path(cache)
        self._rest = manifest if rest is None else rest
        self._work = Work() if work is None else work
        self.target = self._cache / store_key(manifest, front_end, rest)
        self.folder = parts_folder(self.target)

    def build(self, shard: Shard) -> FeatureStore | None:
        """Compute part *shard*, unless it is there, and join all parts if it was the last.

        Returns:
            The store, or ``None`` while parts are missing.

        Raises:
            BadInput: With every fault of the part's utterances; if there are fewer utterances than parts.
        """
        if shard.count > len(self._manifest):
            raise bad_input(
                "--shard",
                found=f"{shard}, with {len(self._manifest)} utterances",
                expected="no more shards than utterances",
                remedy="take fewer shards",
            )
        check_recordings(self._manifest)
        if not self.target.exists() and not self._place(shard).exists():
            try:
                self._compute(shard)
            except OSError:
                if not self.target.exists():  # else another machine was first, and cleared up
                    raise
        return None if self.missing(shard.count) else self.join(shard.count)

    def missing(self, count: int) -> list[Shard]:
        """Return which of *count* parts are not there; none if the store is."""
        if self.target.exists():
            return []
        shards = [Shard(index, count) for index in range(1, count + 1)]
        return [shard for shard in shards if not self._place(shard).exists()]

    def join(self, count: int | None = None) -> FeatureStore:
        """Join the parts into the store, unless it is there.

        Args:
            count: How many there are; ``None`` = of the division with the fewest missing.

        Raises:
            BadInput: If parts are missing, naming each; if one is damaged; or with the utterances' faults.
        """
        if not self.target.exists():
            count = self._division() if count is None else count
            missing = self.missing(count)
            if missing:
                raise bad_input(
                    self.folder,
                    found=f"no part {', '.join(map(str, missing))}",
                    expected=f"all {count} parts",
                    remedy=f"build it with 'sertransfer features ... --shard {missing[0]}'",
                )
            try:
                self._join([self._place(Shard(index, count)) for index in range(1, count + 1)])
            except OSError:
                if not self.target.exists():
                    raise
        store = FeatureStore(self.target)
        store.verify()  # before the parts go: so far nothing has been read back
        shutil.rmtree(self.folder, ignore_errors=True)
        if store.faults and not self._work.skip_bad:
            raise BadInput(store.faults)
        return store

    def _place(self, shard: Shard) -> Path:
        return self.folder / f"{shard.index}-of-{shard.count}"

    def _division(self) -> int:
        names = [_PART.fullmatch(path.name) for path in self.folder.glob("*-of-*")]
        counts = {int(name[1]) for name in names if name is not None}
        if not counts:
            raise bad_input(
                self.folder,
                found="no parts",
                expected="the parts of the store",
                remedy="build them with 'sertransfer features ... --shard I/N', from the same manifest,"
                " settings and recordings",
            )
        return min(counts, key=lambda count: (len(self.missing(count)), count))

    def _resting(self) -> Resting:
        """Return the resting states of all speakers of the store, which every part needs the same."""
        if not uses_rest(self._front_end):
            return Resting()
        return measure_resting(
            self._manifest,
            self._front_end,
            self._cache,
            self._rest,
            workers=self._work.workers,
            progress=self._work.progress,
        )

    def _compute(self, shard: Shard) -> None:
        resting = self._resting()
        rows = shard.rows(len(self._manifest))
        table = self._manifest.table.iloc[rows.start : rows.stop].reset_index(drop=True)
        plan = make_plan(self._manifest.with_table(table), self._front_end, resting.states)
        with renamed_when_whole(self._place(shard), self.folder) as folder:
            features = folder / "features.bin"
            features.touch(mode=0o600)  # stays empty where no utterance can be used
            result = extract(plan, features, workers=self._work.workers, progress=self._work.progress)
            faults = list(dict.fromkeys([*resting.faults, *result.faults]))
            if faults and not self._work.skip_bad:
                raise BadInput(faults)
            write_part(folder, plan, result)

    def _join(self, parts: list[Path]) -> None:
        resting = self._resting()
        with renamed_when_whole(self.target, self.folder) as folder:
            entries, result, frames, dtype, sha256 = join_parts(parts, folder / "features.bin")
            refuse_faults(result, resting, len(self._manifest), skip_bad=self._work.skip_bad)
            write_index(folder, entries)
            write_meta(
                folder,
                key=self.target.name,
                front_end=self._front_end,
                dtype=dtype,
                frames=frames,
                utterances=len(entries),
                sha256=sha256,
                result=result,
                resting=resting,
            )
        _log.info("%s joined from %d parts", self.target, len(parts))
