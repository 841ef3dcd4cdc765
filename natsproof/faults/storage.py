"""What happens to volumes: power loss, no space, rot, and yesterday's copy."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from natsproof.errors import ClusterError, UsageError
from natsproof.faults import Aimed
from natsproof.faults.process import Kill
from natsproof.faults.sight import confirmed, each

#: Where to strike: files below the volume, `{bucket}` is the trial's or the fault's. Raft's are in the folder
#: of the system account, whatever the manifests call it.
FILES = {
    "messages": "**/streams/KV_{bucket}/msgs/*.blk",
    "log": "**/_js_/S-*/msgs/*.blk",
    "meta": "**/_js_/_meta_/**/*",
}


@dataclass(frozen=True)
class PowerCut(Kill):
    """The servers die and what they never fsynced is gone; down until healed."""

    needs: ClassVar[tuple[str, ...]] = ("PowerCuttable",)

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        cluster.cut_power(list(targets))


@dataclass(frozen=True)
class WriteBack(Aimed):
    """All file systems are written back, as the servers' own timer does after `sync_interval`: a later loss
    of power takes what came after, and not the bucket itself. Nothing to witness but that sync(2) returned.
    """

    victim: str = "all"
    down_s: float | None = None

    needs: ClassVar[tuple[str, ...]] = ("PowerCuttable",)
    one_shot: ClassVar[bool] = True

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        os.sync()

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return "sync(2) returned"

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        """Nothing."""


@dataclass(frozen=True)
class FillDisk(Aimed):
    """Not a byte is left on the victims' volumes."""

    needs: ClassVar[tuple[str, ...]] = ("DiskFillable", "VolumeAccess")

    def inject(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.fill_disk(target)

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        def one(name: str) -> str:
            path = cluster.volume_path(name)
            state = os.statvfs(path)
            left = state.f_bavail * state.f_frsize
            return f"{name}: {left} bytes free on its volume" if left < 64 * 1024 else ""

        return confirmed("the volume to be full", lambda: each(targets, one), within_s=3.0)

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            cluster.free_disk(target)


@dataclass(frozen=True)
class FlipBits(Aimed):
    """The victims are killed, `flips` bits of each struck file are turned, and after `down_s` they start.

    `files` is messages (blocks of the bucket `of`), log (Raft logs) or meta. `share` of the files is
    struck, at least one; places are drawn from `seed`. A server that was killed reads its blocks when it
    starts; one that was `stopped` in good order trusts its index, and finds the damage when it is asked.
    """

    victim: str = "follower"
    files: str = "messages"
    flips: int = 2
    share: float = 1.0
    seed: int = 0
    stopped: bool = False

    needs: ClassVar[tuple[str, ...]] = ("Killable", "VolumeAccess")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.files not in FILES:
            raise UsageError(f"files={self.files!r} is no class of files. Valid: {', '.join(FILES)}")

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, str]:
        return {}

    def inject(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, str]:
        """Digests of the struck files as they were."""
        before: dict[str, str] = {}
        for target in targets:
            (cluster.stop if self.stopped else cluster.kill)(target)
            rng = random.Random(f"{self.seed}/{target}")
            files = self._struck(cluster.volume_path(target), rng)
            if not files:
                raise ClusterError(f"{target}: no {self.files} file of a byte or more on its volume")
            for file in files:
                before[str(file)] = _digest(file)
                self._spoil(file, rng)
        return before

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""  # without digests from before nothing can be told

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, str]) -> str:
        changed = [name for name, digest in before.items() if _digest(Path(name)) != digest]
        if not before or len(changed) < len(before):
            return ""
        return f"{len(changed)} files changed on disk: {', '.join(Path(n).name for n in changed[:3])}"

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            if not cluster.running(target):
                cluster.start(target)

    def _struck(self, volume: Path, rng: random.Random) -> list[Path]:
        pattern = FILES[self.files].format(bucket=self.of or "*")
        found = sorted(p for p in volume.glob(pattern) if p.is_file() and p.stat().st_size)
        wanted = max(1, round(self.share * len(found)))
        return rng.sample(found, min(wanted, len(found)))

    def _spoil(self, file: Path, rng: random.Random) -> None:
        data = bytearray(file.read_bytes())
        for _ in range(self.flips):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        _write_through(file, bytes(data))


@dataclass(frozen=True)
class TruncateBlock(FlipBits):
    """As FlipBits, but each struck file loses its last `lost_share`."""

    lost_share: float = 0.3

    def _spoil(self, file: Path, rng: random.Random) -> None:
        data = file.read_bytes()
        _write_through(file, data[: max(0, int(len(data) * (1 - self.lost_share)))])


@dataclass(frozen=True)
class RestoreSnapshot(Aimed):
    """The victims' volumes go back `age_s`: copied while down for a moment, and put back after `age_s` of
    service; they start again `down_s` after that."""

    victim: str = "follower"
    down_s: float | None = 1.0
    age_s: float = 5.0

    needs: ClassVar[tuple[str, ...]] = ("Killable", "VolumeAccess")

    def sight(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, str]:
        return {}

    def inject(self, cluster: Any, targets: Sequence[str]) -> Mapping[str, str]:
        """Digests of the volumes just before they were set back."""
        with tempfile.TemporaryDirectory(prefix="natsproof-snapshot-") as folder:
            for target in targets:
                cluster.kill(target)
                _copy_tree(cluster.volume_path(target), Path(folder) / target)
                cluster.start(target)
            _elapse(self.age_s)
            before = {}
            for target in targets:
                cluster.kill(target)
                before[target] = _tree_digest(cluster.volume_path(target))
                cluster.wipe_volume(target)
                _copy_tree(Path(folder) / target, cluster.volume_path(target))
        return before

    def witness(self, cluster: Any, targets: Sequence[str]) -> str:
        return ""

    def witness_change(self, cluster: Any, targets: Sequence[str], before: Mapping[str, str]) -> str:
        changed = [t for t in targets if t in before and _tree_digest(cluster.volume_path(t)) != before[t]]
        return f"the volumes of {', '.join(changed)} went back" if len(changed) == len(targets) else ""

    def heal(self, cluster: Any, targets: Sequence[str]) -> None:
        for target in targets:
            if not cluster.running(target):
                cluster.start(target)


def _copy_tree(source: Path, target: Path) -> None:
    """With owners and modes, which shutil.copytree drops: the server may run as another user."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    for path in (source, *source.rglob("*")):
        owner = path.lstat()
        os.chown(target / path.relative_to(source), owner.st_uid, owner.st_gid, follow_symlinks=False)


def _elapse(seconds: float) -> None:
    threading.Event().wait(seconds)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "gone"


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.rglob("*")) if p.is_file())


def _tree_digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for file in _files(folder):
        whole.update(str(file.relative_to(folder)).encode())
        whole.update(file.read_bytes())
    return whole.hexdigest()


def _write_through(file: Path, data: bytes) -> None:
    with file.open("r+b") as out:
        out.write(data)
        out.truncate()
        out.flush()
        os.fsync(out.fileno())
