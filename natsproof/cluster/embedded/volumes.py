"""Volumes of pods as folders here: ConfigMaps and Secrets in the kubelet's layout, emptyDir, claims."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from natsproof.cluster.embedded.refused import PodRefused
from natsproof.contract.model import PodSpec, Volume, VolumeMount
from natsproof.errors import ClusterError

#: Looks up the data of a ConfigMap or Secret: (kind, name) → key → text.
Lookup = Callable[[str, str], Mapping[str, str]]
#: Gives the folder of a claim template: name → folder.
ClaimFolder = Callable[[str], Path]


class PodVolumes:
    """The volumes of one incarnation of a pod, made under `folder`, which is emptied first."""

    def __init__(
        self, spec: PodSpec, folder: Path, lookup: Lookup, claim: ClaimFolder, *, change_owner: bool
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder, self._lookup, self._claim = folder, lookup, claim
        context: Mapping[str, Any] = spec.security_context
        self._group: int | None = context.get("fsGroup") if change_owner else None
        self._volumes = {volume.name: volume for volume in spec.volumes}
        self._made: dict[str, Path] = {}

    def path(self, mount: VolumeMount) -> tuple[Path, bool]:
        """Where a mount's content is here, and whether Kubernetes mounts it read-only anyway.

        Raises ClusterError for a volume that does not exist or whose kind only Kubernetes has.
        """
        if mount.name not in self._made:
            self._made[mount.name] = self._make(mount)
        root, volume = self._made[mount.name], self._volumes.get(mount.name)
        inside = (root / mount.sub_path).resolve() if mount.sub_path else root
        fixed = volume is not None and (volume.config_map is not None or volume.secret is not None)
        if mount.sub_path and not inside.exists():
            if fixed:
                raise PodRefused(f"{mount.place}: subPath {mount.sub_path!r} is not in volume {mount.name!r}")
            inside.mkdir(parents=True)
        return inside, fixed

    def refresh(self) -> None:
        """Write changed ConfigMaps and Secrets again, as the kubelet does some time after an edit."""
        for name, root in self._made.items():
            volume = self._volumes.get(name)
            if volume and (kind := _kind(volume)):
                write_atomically(root, self._data(volume, kind), volume.default_mode)

    def _make(self, mount: VolumeMount) -> Path:
        volume = self._volumes.get(mount.name)
        if volume is None or volume.claim is not None:
            return self._own(self._claim(mount.name))
        target = self._folder / volume.name
        if kind := _kind(volume):
            target.mkdir()
            write_atomically(target, self._data(volume, kind), volume.default_mode)
            return target
        if volume.empty_dir is None:
            raise ClusterError(
                f"{volume.place}: volume {volume.name!r} is a {volume.other!r}, which the embedded "
                f"cluster does not have; use configMap, secret, emptyDir or a claim, or --cluster kind"
            )
        target.mkdir()
        target.chmod(0o777)
        return self._own(target)

    def _data(self, volume: Volume, kind: str) -> dict[str, str]:
        data = self._lookup(kind, volume.config_map or volume.secret or "")
        if volume.items is None:
            return dict(data)
        missing = sorted(set(volume.items) - set(data))
        if missing:
            raise PodRefused(f"{volume.place}: {kind} has no key {missing[0]!r}; it has {sorted(data)}")
        return {path: data[key] for key, path in volume.items.items()}

    def _own(self, folder: Path) -> Path:
        """fsGroup: what is in the volume belongs to the group, and so does what comes."""
        if self._group is not None and folder.stat().st_gid != self._group:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, -1, self._group, follow_symlinks=False)
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))
        return folder


def _kind(volume: Volume) -> str | None:
    if volume.config_map is not None:
        return "configmap"
    return "secret" if volume.secret is not None else None


def write_atomically(folder: Path, data: Mapping[str, str], mode: int | None = None) -> None:
    """The kubelet's layout: `key` → `..data/key`, `..data` → a dated folder, exchanged in one step."""
    number = sum(1 for p in folder.iterdir() if p.name.startswith("..v"))
    fresh = folder / f"..v{number}"
    fresh.mkdir()
    for name, text in data.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode if mode is not None else 0o644)
    link = folder / "..data_tmp"
    link.symlink_to(fresh.name)
    link.replace(folder / "..data")
    for top in {name.split("/", 1)[0] for name in data}:
        shown = folder / top
        if not shown.is_symlink():
            shown.symlink_to(f"..data/{top}")
