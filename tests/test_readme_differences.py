"""Where the readme is wrong, shown on the real server and CLI: rows of docs/readme-differences.md."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from natsproof import units
from natsproof.clock import wait_until
from natsproof.cluster.binaries import nats_server
from tests.platform_on_loopback import Platform

ROOT = Path(__file__).parent.parent
TABLE = (ROOT / "docs" / "readme-differences.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
IN_THE_SERVER_IMAGE = {"nats-server", "wget", "df", "ls", "cat", "sh", "nc", "nslookup", "du"}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform() as running:
        made = running.job()
        assert made.returncode == 0, made.stderr
        yield running


def bash_blocks(text: str) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_every_row_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| \d+ \|.*$", TABLE, flags=re.MULTILINE)
    assert len(rows) >= 30
    assert all("::" in row for row in rows)
    mutants = "".join(f.read_text() for f in (ROOT / "tests" / "mutants" / "contract").glob("*.yaml"))
    for row in rows:
        for mutant in re.findall(r" \[([^\]]+)\]", row):
            assert f"- name: {mutant}\n" in mutants, row
        for file, name in re.findall(r"`((?:tests|suites)/[\w/]+\.py)::([\w:]+)`", row):
            assert f"def {name.split('::')[-1]}(" in (ROOT / file).read_text(), row


@pytest.mark.parametrize("word", ["routes", "jsz"])
def test_the_server_knows_no_such_signal(word: str) -> None:
    with subprocess.Popen(["sleep", "10"]) as bystander:
        result = subprocess.run(
            [nats_server("2.12.8").path, "--signal", f"{word}={bystander.pid}"],
            capture_output=True,
            text=True,
            timeout=10,
        )
        bystander.kill()
    assert result.returncode == 1
    assert f'unknown signal "{word}"' in result.stdout + result.stderr


def test_a_gb_is_three_different_things() -> None:
    assert units.cli_size("10GB") == 10 * 2**30
    assert units.quantity_bytes("10G") == 10 * 10**9
    assert units.conf_size("10G") != units.quoted_conf_size("10G")
    with pytest.raises(ValueError, match="100GB"):
        units.quantity_bytes("100GB")


@pytest.mark.cluster
def test_the_server_has_no_metrics(platform: Platform) -> None:
    assert platform.get(0, "/metrics")[0] == 404
    assert {p: platform.get(0, p)[0] for p in platform.contract.promises.monitoring} == dict.fromkeys(
        platform.contract.promises.monitoring, 200
    )


@pytest.mark.cluster
def test_routes_and_memory_are_in_the_monitoring_instead(platform: Platform) -> None:
    _, routes = platform.get(0, "/routez")
    assert {r["remote_name"] for r in routes["routes"]} == {"nats-platform-1", "nats-platform-2"}
    _, jetstream = platform.get(0, "/jsz")
    assert jetstream["config"]["max_memory"] == platform.contract.config.max_memory_bytes


@pytest.mark.cluster
def test_buckets_are_no_streams_to_stream_ls(platform: Platform) -> None:
    plain = platform.nats("stream", "ls")
    assert "message_state" not in plain.stdout
    assert "KV_message_state" in platform.nats("stream", "ls", "--all").stdout
    assert "message_state" in platform.nats("kv", "ls").stdout


@pytest.mark.cluster
def test_server_info_needs_the_system_account(platform: Platform) -> None:
    as_client = platform.nats("server", "info", platform.url.split(",")[0])
    assert as_client.returncode != 0
    assert "nats-platform-0" in platform.system("server", "info", "nats-platform-0").stdout


@pytest.mark.cluster
def test_each_server_answers_monitoring_for_itself(platform: Platform) -> None:
    names = {platform.get(i, "/varz")[1]["server_name"] for i in range(3)}
    assert names == {"nats-platform-0", "nats-platform-1", "nats-platform-2"}


@pytest.mark.cluster
def test_the_store_is_a_folder_below_store_dir(platform: Platform) -> None:
    assert (platform.store(0) / "jetstream").is_dir()


@pytest.mark.cluster
def test_the_job_may_run_again(platform: Platform) -> None:
    again = platform.job()
    assert again.returncode == 0, again.stderr
    assert "all buckets are as asked" in again.stdout


@pytest.mark.cluster
def test_a_bucket_made_by_the_readmes_command_makes_the_job_fail(platform: Platform) -> None:
    """No size: unlimited, nothing reserved; the CLI refuses the same name with another configuration."""
    assert platform.nats("kv", "del", "message_state", "-f").returncode == 0
    by_hand = platform.nats("kv", "add", "message_state", "--replicas=3", "--ttl=15m")
    assert by_hand.returncode == 0, by_hand.stderr
    assert '"max_bytes": -1' in platform.nats("stream", "info", "KV_message_state", "--json").stdout
    failed = platform.job()
    assert failed.returncode != 0
    assert "10058" in failed.stderr
    assert platform.nats("kv", "del", "message_state", "-f").returncode == 0
    assert platform.job().returncode == 0


@pytest.mark.cluster
def test_the_job_notices_a_bucket_that_drifted(platform: Platform) -> None:
    assert platform.nats("kv", "edit", "retry_queue", "--max-bucket-size=40GiB").returncode == 0
    assert platform.job().returncode != 0
    assert platform.nats("kv", "edit", "retry_queue", "--max-bucket-size=50GiB").returncode == 0
    assert platform.job().returncode == 0


@pytest.mark.cluster
def test_the_clis_default_is_one_replica(platform: Platform) -> None:
    assert platform.nats("kv", "add", "by_default", "--max-bucket-size=1MiB").returncode == 0
    assert '"num_replicas": 1' in platform.nats("stream", "info", "KV_by_default", "--json").stdout
    assert platform.nats("kv", "del", "by_default", "-f").returncode == 0


@pytest.mark.cluster
def test_a_tar_unpacked_into_a_running_server_restores_nothing(platform: Platform) -> None:
    assert platform.nats("kv", "add", "tarred", "--replicas=3", "--max-bucket-size=1MiB").returncode == 0
    assert platform.nats("kv", "put", "tarred", "key", "value").returncode == 0
    archive = str(platform.folder / "jetstream-backup.tar.gz")
    assert platform.run("tar", "czf", archive, str(platform.store(0))).returncode in (
        0,
        1,
    )  # 1: changed meanwhile
    assert platform.nats("kv", "del", "tarred", "-f").returncode == 0
    assert platform.run("tar", "xzf", archive, "-C", "/").returncode == 0
    lost = platform.nats("kv", "get", "tarred", "key", "--raw")
    assert lost.returncode != 0
    assert "bucket not found" in lost.stderr


@pytest.mark.cluster
def test_a_stream_backup_restores_values_and_configuration(platform: Platform) -> None:
    """What the runbook does instead. Servers tell each other of freed room every 10 s: until then 10005."""
    assert platform.nats("kv", "put", "retry_queue", "key", "value").returncode == 0
    folder = str(platform.folder / "backup")
    saved = platform.nats("stream", "backup", "KV_retry_queue", folder, "--no-progress")
    assert saved.returncode == 0, saved.stderr
    assert platform.nats("kv", "del", "retry_queue", "-f").returncode == 0
    wait_until(
        "the backup is restored",
        lambda: platform.nats("stream", "restore", folder, "--no-progress").returncode == 0,
        within_s=30,
        every_s=0.5,
    )
    wait_until(
        "the value is back",
        lambda: platform.nats("kv", "get", "retry_queue", "key", "--raw").stdout == "value",
        within_s=10,
    )
    assert platform.job().returncode == 0  # the configuration is what the Job asks for


@pytest.mark.cluster
def test_the_readmes_buckets_do_not_fit_the_readmes_volumes() -> None:
    """100 GB of volume, all of it given to max_file: three buckets fit, the fourth is refused."""
    with Platform(edits=[("max_file: 180Gi", "max_file: 100GB")]) as small:
        failed = small.job()
        assert failed.returncode != 0
        assert re.search(r"err_code=(10047|10005)", failed.stderr)
        assert "dead_letter_queue" not in small.nats("kv", "ls").stdout


@pytest.mark.cluster
def test_scaling_down_needs_peer_remove() -> None:
    """Two of five servers stopped: the meta group counts five until the system user removes them."""
    with Platform(size=5) as five:
        for i in (4, 3):
            five.stop(i)

        def counted() -> int:
            return int(five.get(0, "/jsz")[1]["meta_cluster"]["cluster_size"])

        def removed(i: int) -> bool:
            five.system("server", "cluster", "peer-remove", five.name(i), "--force")
            return counted() <= i

        assert counted() == 5
        for i in (4, 3):  # the meta leader may have been one of the two: then an election comes first
            wait_until(f"{five.name(i)} is removed", lambda i=i: removed(i), within_s=30, every_s=0.5)
        assert counted() == 3


def test_the_servers_own_check_misses_what_stops_it(tmp_path: Path) -> None:
    """`-t` accepts a cluster without a name; the server exits at start."""
    config = tmp_path / "nats.conf"
    config.write_text(
        f"server_name: alone\nport: -1\njetstream {{ store_dir: {tmp_path} }}\ncluster {{ port: -1 }}\n"
    )
    command = [nats_server("2.12.8").path, "-c", config]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=10)
    assert checked.returncode == 0
    assert "is valid" in checked.stdout + checked.stderr
    started = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert started.returncode == 1
    assert "cluster.name" in started.stdout + started.stderr


def test_the_runbook_uses_only_tools_of_the_server_image() -> None:
    blocks = bash_blocks(RUNBOOK)
    assert len(blocks) >= 15
    tools = set(
        re.findall(r"kubectl exec [^\n|]*?nats-platform-\S+(?: -c nats)? -- (\S+)", "\n".join(blocks))
    )
    assert tools
    assert tools <= IN_THE_SERVER_IMAGE


def test_the_runbook_deletes_the_job_before_it_applies_it_again() -> None:
    """A Job's template cannot be changed, and applying the same one again runs nothing."""
    for block in bash_blocks(RUNBOOK):
        if "apply -f manifests/kv-setup-job.yaml" in block:
            assert (
                "delete job nats-kv-setup -n vrsky-platform --ignore-not-found"
                in block.split("apply -f manifests/kv")[0]
            )


def test_the_runbook_waits_for_objects_that_may_not_exist_yet() -> None:
    """`kubectl wait` fails at once where there is no pod yet; `kubectl rollout status` does not."""
    assert "kubectl wait --for=condition=ready pod -l" not in RUNBOOK
    assert "kubectl rollout status statefulset/nats-platform" in RUNBOOK


def test_the_runbook_never_scales_beside_the_manifests() -> None:
    """The next `kubectl apply -f statefulset.yaml` undoes `kubectl scale`: the number belongs in the file."""
    assert not re.search(r"kubectl scale .*--replicas=[^0]", RUNBOOK)


def test_the_runbook_pins_its_images() -> None:
    images = re.findall(r"--image=(\S+)", RUNBOOK)
    assert images
    assert all(re.search(r":\d+\.\d+\.\d+$", image) for image in images)


def test_the_runbook_never_blocks() -> None:
    """A port-forward or a followed log does not return: what stands after it in a block is never reached."""
    for block in bash_blocks(RUNBOOK):
        assert "port-forward" not in block
        assert not re.search(r"kubectl logs .*(?:-f|--follow)\b", block)
