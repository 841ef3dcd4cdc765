"""What persistent volumes are made of: folders, or ext4 images that can lose power and fill up.

A power cut is exact about fsync: at the cut the servers are stopped, the image file is copied as it is, and
what only stood in the page cache of the file system inside it (written, never fsynced) is not in the copy.
Loop devices clear themselves with the mount, and the mount goes with this process's namespace.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Protocol

from natsproof.clock import wait_until
from natsproof.errors import ClusterError, NotAvailableHere

MINIMUM_BYTES = 64 << 20
COMMAND_LIMIT_S = 60
LOOP_TOOLS = ("mkfs.ext4", "mount", "umount")
TOOL_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
FILLER = ".natsproof-filler"


class VolumeStore(Protocol):
    """Folders for claims, by claim template and pod."""

    kind: str

    def folder(self, claim: str, pod: str, size_bytes: int) -> Path: ...
    def close(self) -> None: ...


class FolderStore:
    """Sizes are not enforced."""

    kind = "directory"

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, claim: str, pod: str, size_bytes: int) -> Path:
        folder = self._root / f"{claim}-{pod}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        """Folders stay: they are the volumes."""


class LoopStore:
    """Each volume a sparse ext4 image of the claim's size, mounted in this process's mount namespace."""

    kind = "loop"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._mounted: dict[Path, Path] = {}  # mount point → image

    def folder(self, claim: str, pod: str, size_bytes: int) -> Path:
        """Raises NotAvailableHere without mkfs.ext4 or loop devices."""
        folder = self._root / f"{claim}-{pod}"
        with self._lock:
            if folder not in self._mounted:
                folder.mkdir(parents=True, exist_ok=True)
                image = folder.with_suffix(".ext4")
                if not image.exists():
                    _make(image, max(size_bytes, MINIMUM_BYTES))
                _mount(image, folder)
                self._mounted[folder] = image
        return folder

    def copy_as_on_disk(self, folder: Path) -> Path:
        """The image as the disk has it now. The file system is not asked to write anything back first."""
        image = self._image(folder)
        copy = image.with_suffix(".cut")
        copy_sparse(image, copy)
        return copy

    def lose_power(self, folder: Path, copy: Path) -> None:
        """Continue on `copy`. No process may use the volume any more."""
        image = self._image(folder)
        with self._lock:
            _unmount(folder)
            copy.replace(image)
            _mount(image, folder)

    def fill(self, folder: Path) -> int:
        """Take all free space, reserved blocks too; bytes taken. The image stays sparse."""
        free = os.statvfs(folder)
        size = free.f_bfree * free.f_frsize
        filler = os.open(folder / FILLER, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            taken = 0
            step = 1 << 40
            while step >= free.f_frsize and taken < size:
                try:
                    os.posix_fallocate(filler, taken, min(step, size - taken))
                    taken += min(step, size - taken)
                except OSError:
                    step //= 2
        finally:
            os.close(filler)
        return taken

    def free(self, folder: Path) -> None:
        (folder / FILLER).unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            for folder in list(self._mounted):
                _unmount(folder)
                del self._mounted[folder]

    def _image(self, folder: Path) -> Path:
        try:
            return self._mounted[folder]
        except KeyError:
            raise ClusterError(f"{folder} is no mounted volume") from None


def copy_sparse(source: Path, target: Path) -> None:
    """Copy only what is written; holes stay holes."""
    with source.open("rb") as reading, target.open("wb") as writing:
        end = os.fstat(reading.fileno()).st_size
        os.ftruncate(writing.fileno(), end)
        at = 0
        while at < end:
            try:
                at = os.lseek(reading.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                break
            hole = os.lseek(reading.fileno(), at, os.SEEK_HOLE)
            while at < hole:
                copied = os.copy_file_range(reading.fileno(), writing.fileno(), hole - at, at, at)
                if copied == 0:
                    break
                at += copied


def _make(image: Path, size_bytes: int) -> None:
    with image.open("wb") as file:
        os.ftruncate(file.fileno(), size_bytes)
    lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    _run("mkfs.ext4", "-q", "-F", "-E", lazy, str(image))


def _mount(image: Path, folder: Path) -> None:
    _run("mount", "-o", "loop", "-t", "ext4", str(image), str(folder))


def _unmount(folder: Path) -> None:
    """Waits for the namespaces of containers that died a moment ago."""

    def unmounted() -> bool:
        _run("umount", str(folder))
        return True

    wait_until(f"{folder} to be unused", unmounted, within_s=10)


def _run(*command: str) -> None:
    environment = {**os.environ, "PATH": TOOL_PATH}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise NotAvailableHere(f"{command[0]}: {problem}") from problem
    if done.returncode:
        raise ClusterError(f"`{' '.join(command[:2])} ... {command[-1]}`: {done.stderr.strip()}")
