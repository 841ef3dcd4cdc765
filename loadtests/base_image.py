"""A base image for loadtests/Dockerfile made of this Python, where no registry is to be had.

    python loadtests/base_image.py | docker import -c "ENV PATH=/usr/local/bin:/bin" - natsproof-load-base:dev
    docker build --build-arg BASE=natsproof-load-base:dev -f loadtests/Dockerfile -t natsproof-load:dev .

A tar on standard output: the interpreter, its standard library, what natsproof needs to run, the shared
libraries of all these, and a shell.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

HOME = f"usr/local/lib/python{sys.version_info.major}.{sys.version_info.minor}"
LEFT_OUT = {"test", "tests", "idlelib", "__pycache__", "site-packages", "ensurepip", "tkinter", "lib2to3"}
PROJECT = Path(__file__).parent.parent / "pyproject.toml"
NAME = re.compile(r"[\w.-]+")
LIBRARY = re.compile(r"(/\S+) \(0x")


def requirements(name: str, seen: set[str]) -> set[str]:
    """`name` and, recursively, what it requires here; extras are left out."""
    normal = re.sub(r"[-_.]+", "-", name).lower()
    if normal in seen:
        return seen
    try:
        wanted = metadata.requires(normal) or []
    except metadata.PackageNotFoundError:
        return seen  # not for this system
    seen.add(normal)
    for line in wanted:
        if "extra ==" not in line:
            requirements(NAME.match(line)[0], seen)  # type: ignore[index]
    return seen


def files() -> Iterator[tuple[Path, str]]:
    """(file here, its name in the image)."""
    yield Path(sys.executable).resolve(), "usr/local/bin/python"
    standard = Path(sysconfig.get_path("stdlib"))
    for path in standard.rglob("*"):
        if path.is_file() and not LEFT_OUT & set(path.relative_to(standard).parts[:-1]):
            yield path, f"{HOME}/{path.relative_to(standard)}"
    site, packages = Path(sysconfig.get_path("purelib")), set[str]()
    for line in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]:
        requirements(NAME.match(line)[0], packages)  # type: ignore[index]
    for package in sorted(packages):
        try:
            listed = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        for entry in listed:
            path = Path(str(entry.locate()))
            if path.is_file() and path.is_relative_to(site) and "__pycache__" not in path.parts:
                yield path, f"{HOME}/site-packages/{path.relative_to(site)}"
    yield Path("/bin/sh").resolve(), "bin/sh"


def libraries(of: list[Path]) -> set[str]:
    """Shared libraries and the loader, by absolute path, as ldd resolves them."""
    found: set[str] = set()
    for start in range(0, len(of), 100):
        words = ["ldd", *map(str, of[start : start + 100])]
        told = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        found |= {path for path in LIBRARY.findall(told) if "/site-packages/" not in path}
    return found


def main() -> None:
    chosen = {name: path for path, name in files()}
    binaries = [p for n, p in chosen.items() if ".so" in p.name or n.startswith(("bin/", "usr/local/bin/"))]
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        for name, mode in (("tmp", 0o1777), ("etc", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        users = b"root:x:0:0::/:/bin/sh\nload:x:65532:65532::/tmp:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size, entry.mode = len(users), 0o644
        tar.addfile(entry, io.BytesIO(users))
        for path in sorted(libraries(binaries)):
            chosen[path.lstrip("/")] = Path(path).resolve()
        for name, path in sorted(chosen.items()):
            tar.add(path, name, recursive=False)


if __name__ == "__main__":
    main()
