"""Images from archives: what is in them, and a pinned server laid over another."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from natsproof.cluster.binaries import Binary
from natsproof.cluster.kubernetes import images
from natsproof.contract.loader import load
from natsproof.errors import ClusterError, UsageError

MANIFESTS = Path(__file__).parent.parent / "manifests"
CONFIG = {
    "config": {"Env": ["PATH=/bin", "NATS_SERVER=2.12.3"], "Entrypoint": ["entry.sh"]},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:0"]},
}


def archive(path: Path, *tags: str) -> Path:
    """What `docker save` writes for images of one empty layer."""
    files = {"layer.tar": b"", "config.json": json.dumps(CONFIG).encode()}
    entries = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]} for tag in tags]
    files["manifest.json"] = json.dumps(entries).encode()
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def binary(folder: Path) -> Binary:
    file = folder / "nats-server"
    file.write_bytes(b"the server")
    return Binary("nats-server", "2.12.8", file, "a test", "abc")


def test_the_images_of_the_manifests_are_the_servers_and_the_jobs() -> None:
    assert images.images_of(load(MANIFESTS)) == ("nats:2.12.8-alpine", "natsio/nats-box:0.18.0")


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("docker.io/library/nats:2.12.8-alpine", "nats:2.12.8-alpine"),
        ("docker.io/natsio/nats-box:0.18.0", "natsio/nats-box:0.18.0"),
        ("nats", "nats:latest"),
        ("registry.example:5000/nats", "registry.example:5000/nats:latest"),
    ],
)
def test_two_names_of_one_image_are_one(long: str, short: str) -> None:
    assert images.short_name(long) == short


def test_a_pinned_server_is_laid_over_another(tmp_path: Path) -> None:
    base = archive(tmp_path / "apps.tar", "nats:2.12.3-alpine", "natsio/nats-box:0.18.0")
    wanted = ["nats:2.12.8-alpine", "natsio/nats-box:0.18.0"]
    cache = tmp_path / "cache"
    server, box = images.choose(wanted, [base], cache=cache, server=lambda v: binary(tmp_path))
    assert (server.how, box.how, box.archive) == ("built", "given", base)
    assert images.images_in(server.archive) == ("nats:2.12.8-alpine",)
    with tarfile.open(server.archive) as tar:
        (entry,) = json.loads(images._bytes(tar, "manifest.json"))
        config = json.loads(images._bytes(tar, entry["Config"]))
        layer = images._bytes(tar, entry["Layers"][-1])
    assert config["config"]["Env"] == ["PATH=/bin", "NATS_SERVER=2.12.8"]
    assert config["config"]["Entrypoint"] == ["entry.sh"]
    assert len(config["rootfs"]["diff_ids"]) == len(entry["Layers"]) == 2
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.mode) == (images.SERVER_PATH, 0o755)
        assert images._bytes(tar, member.name) == b"the server"


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    base = archive(tmp_path / "apps.tar", "nats:2.12.3-alpine")
    made = [
        images.choose(
            ["nats:2.12.8-alpine"], [base], cache=tmp_path / name, server=lambda v: binary(tmp_path)
        )[0].archive.read_bytes()
        for name in ("one", "two")
    ]
    assert made[0] == made[1]


def test_an_image_of_the_engine_is_exported(tmp_path: Path) -> None:
    asked: list[str] = []

    def export(image: str, file: Path) -> bool:
        asked.append(image)
        return True

    (source,) = images.choose(["nats:2.12.8-alpine"], [], cache=tmp_path, export=export)
    assert (source.how, asked) == ("engine", ["nats:2.12.8-alpine"])


def test_an_image_that_nobody_has_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"no source for image other/thing:1\..*--image"):
        images.choose(["other/thing:1"], [archive(tmp_path / "a.tar", "nats:2.12.3")], cache=tmp_path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "x.tar"
    plain.write_text("no tar")
    with pytest.raises(UsageError, match="no image archive"):
        images.images_in(plain)
    with tarfile.open(plain, "w"):
        pass
    with pytest.raises(UsageError, match=r"no manifest\.json"):
        images.images_in(plain)
