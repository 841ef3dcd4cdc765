"""Manifests become a Contract whose every field knows its line; what is wrong is told where."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from natsproof.contract import Contract, Place, load, load_documents
from natsproof.contract.loader import read_files, standard_input
from natsproof.contract.yaml_source import documents
from natsproof.errors import ContractError

ROOT = Path(__file__).parent.parent
SMALL = Path(__file__).parent / "contracts/kustomized/base/nats.yaml"
BASE = SMALL.read_text()
LINES = BASE.splitlines()


def loaded(text: str = BASE) -> Contract:
    return load_documents([("m.yaml", text)], promises_required=False)


def line_of(text: str, nth: int = 1) -> int:
    return [number for number, line in enumerate(LINES, 1) if text in line][nth - 1]


def refused(old: str, new: str, *, count: int = 1) -> list[str]:
    """The lines of the error after one edit of the small platform."""
    assert old in BASE
    with pytest.raises(ContractError) as error:
        loaded(BASE.replace(old, new, count))
    return str(error.value).splitlines()


def test_the_shipped_manifests_load() -> None:
    contract = load(ROOT / "manifests")
    assert contract.namespace == "vrsky-platform"
    assert contract.statefulset.pod_names() == ("nats-platform-0", "nats-platform-1", "nats-platform-2")
    assert contract.governing_service is not None and contract.client_service is not None
    promised = {(b.name, b.ttl_s, b.max_bytes, b.replicas, b.storage) for b in contract.promises.buckets}
    assert promised == {(b.name, b.ttl_s, b.max_bytes, b.replicas, b.storage) for b in contract.job_buckets}
    assert len(promised) == 4


def test_every_field_knows_its_line() -> None:
    contract = loaded()
    sts, container, config = contract.statefulset, contract.server_container, contract.config
    assert sts.at("replicas") == Place("m.yaml", line_of("replicas: 3"))
    assert sts.at("partition") == sts.place  # defaulted
    assert container.at("image").line == line_of("image: nats:")
    assert container.readiness_probe is not None
    assert container.readiness_probe.at("period_s").line == line_of("periodSeconds: 3")
    assert sts.claims[0].at("storage_bytes").line == line_of("storage: 1Gi")
    assert (
        config.at("max_file_bytes").line == config.at("jetstream.max_file").line == line_of("max_file: 512Mi")
    )
    assert config.at("routes").line == line_of("routes: [")
    assert config.at("cluster.routes.2").line == line_of("nats-2.nats-headless")
    assert config.variables == {"POD_NAME": Place("m.yaml", line_of("server_name: $POD_NAME"))}
    assert contract.config_map.line_of("nats.conf", 1).line == line_of("nats.conf: |") + 1


def test_values_are_typed_and_defaults_are_those_of_kubernetes() -> None:
    contract = loaded()
    sts, container = contract.statefulset, contract.server_container
    assert (sts.replicas, sts.pod_management_policy, sts.update_strategy) == (3, "Parallel", "RollingUpdate")
    assert (sts.claims[0].storage_bytes, sts.claims[0].access_modes) == (1 << 30, ("ReadWriteOnce",))
    assert sts.retention_when_deleted == "Retain"
    assert container.args == ("--config", "/etc/nats-config/nats.conf") and container.command is None
    assert container.liveness_probe is not None
    assert (container.liveness_probe.period_s, container.liveness_probe.failure_threshold) == (10, 3)
    assert sts.template.spreads[0].hard and sts.template.spreads[0].how == "antiAffinity"
    config = contract.config
    assert (config.server_name, config.server_name_variable) == ("nats-0", "POD_NAME")
    assert (config.max_file_bytes, config.max_memory_bytes, config.store_dir) == (
        512 << 20,
        64 << 20,
        "/data",
    )
    assert (config.cluster_name, config.cluster_port, len(config.routes)) == ("nats", 6222, 3)
    assert contract.governing_service is not None and contract.governing_service.publish_not_ready
    assert contract.client_service is not None and contract.client_service.name == "nats"
    assert contract.budgets[0].max_unavailable == 1


def test_the_digest_is_of_the_content_alone() -> None:
    same = loaded("# a comment\n" + BASE.replace("replicas: 3", "replicas:   0x3"))
    assert same.digest == loaded().digest
    assert loaded(BASE.replace("replicas: 3", "replicas: 5")).digest != same.digest


def test_a_folder_a_file_and_standard_input_give_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number, document in enumerate(BASE.split("\n---\n")):
        (tmp_path / f"{number}.yaml").write_text(document + "\n")
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays/other.yaml").write_text("not: a manifest")
    (tmp_path / "notes.md").write_text("not a manifest")
    monkeypatch.setattr("sys.stdin", io.StringIO(BASE))
    standard_input.cache_clear()
    sources = (tmp_path, SMALL, "-")
    assert len({load(source, promises_required=False).digest for source in sources}) == 1
    assert len(read_files(tmp_path)) == BASE.count("\n---\n") + 1


def test_pytest_reads_manifests_from_standard_input(tmp_path: Path) -> None:
    """Through pytest's capturing, which hides standard input; a wrong text ends with exit code 4."""
    command = [sys.executable, "-m", "pytest", "-q", "suites/test_contract.py", "--manifests", "-"]
    command += ["--collect-only"]
    good = "\n---\n".join(text for _, text in read_files(ROOT / "manifests"))
    for text, code, says in ((good, 0, "test_contract.py"), ("a: [", 4, "<stdin>:1: not valid YAML")):
        done = subprocess.run(
            command, input=text, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert says in done.stdout + done.stderr


def test_scalars_are_typed_as_kubernetes_does() -> None:
    text = "a: [y, off, 0o17, 017, 1_000, 1e3, .5, 0x1F, 1:30, 2024-01-02, ~, '1', 1.2.3, .inf, +7]"
    expected = [
        True,
        False,
        15,
        15,
        1000,
        1000.0,
        0.5,
        31,
        "1:30",
        "2024-01-02",
        None,
        "1",
        "1.2.3",
        ".inf",
        7,
    ]
    assert documents(text, "m.yaml")[0].plain() == {"a": expected}


def test_anchors_and_merges_are_followed_and_the_first_line_of_text_is_known() -> None:
    root = documents("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}\nc: |\n\n  text\nd: *x", "m.yaml")[0]
    assert [root.plain()[key] for key in "abd"] == [{"k": 1, "l": 2}, {"k": 1, "l": 3}, {"k": 1, "l": 2}]
    text = root.get("c")
    assert text is not None and text.text == Place("m.yaml", 4)


def test_a_list_object_counts_as_its_items() -> None:
    items = "".join(
        "- " + document.strip().replace("\n", "\n  ") + "\n" for document in BASE.split("\n---\n") if document
    )
    assert loaded("apiVersion: v1\nkind: List\nitems:\n" + items).digest == loaded().digest


def test_a_contract_without_promises_is_refused() -> None:
    with pytest.raises(ContractError, match=r"promises\.yaml: nothing is promised"):
        load_documents([("m.yaml", BASE)])


def test_a_governing_service_that_does_not_exist_is_left_to_the_rules() -> None:
    assert loaded(BASE.replace("serviceName: nats-headless", "serviceName: other")).governing_service is None


@pytest.mark.parametrize(
    ("old", "new", "at", "says"),
    [
        ("replicas: 3", "replicas: three", "replicas: 3", "found 'three', expected an integer"),
        ("replicas: 3", "replicas: -1", "replicas: 3", "found -1, expected 0 or more"),
        ("replicas: 3", "replica: 3", "replicas: 3", "unknown field 'replica' in StatefulSet.spec; did you"),
        ("Parallel", "parallel", "Parallel", "one of OrderedReady, Parallel; did you mean Parallel?"),
        ("storage: 1Gi", "storage: 1GB", "storage: 1Gi", "Kubernetes writes no B"),
        ("kind: StatefulSet", "kind: StatefullSet", "kind: StatefulSet", "did you mean StatefulSet?"),
        ("apps/v1", "apps/v1beta1", "kind: StatefulSet", "expected 'apps/v1'"),
        ("configMap: {name: nats-config}", "configMap: {name: nats-conf}", "configMap: {name: nats-config}",
         "did you mean nats-config?"),
        ("{name: data, mountPath: /data}", "{name: date, mountPath: /data}", "data, mount", "volume 'date'"),
        ("fieldPath: metadata.name}", "fieldPath: metadata.nam}", "fieldPath", "did you mean metadata.name?"),
        ('js-server-only=true", port: 8222', 'js-server-only=true", port: monitr', "js-server-only",
         "did you mean monitor?"),
        ("- {name: client, port: 4222}", "- {name: client, port: 4222, targetPort: klient}",
         "name: client, port", "did you mean client?"),
        ("max_file: 512Mi", 'max_file: "512Mi"', "max_file", "without quotes also 10GiB"),
        ("max_file: 512Mi", "max_fil: 512Mi", "max_file", "did you mean max_file?"),
        ("http_port: 8222", "http_port: '8222'", "http_port", "a number without quotes"),
        ("http_port: 8222", "lame_duck_duration: 10s", "http_port", "30s or more"),
        ("http_port: 8222", "lame_duck_duration: 2m", "http_port", "two million"),
        ("server_name: $POD_NAME", "server_name: $POD_NAM", "server_name", "set neither in an enclosing map"),
        ("restartPolicy: OnFailure", "restartPolicy: Always", "restartPolicy", "Never or OnFailure"),
        ("image: nats:2.12.3-alpine", "imagee: nats:2.12.3-alpine", "image: nats:", "did you mean image?"),
        ("maxUnavailable: 1", "maxUnavailable: 1\n  minAvailable: 2", "PodDisruptionBudget", "one of them"),
        ("publishNotReadyAddresses: true", "publishNotReadyAddresses: 'true'", "publishNotReady",
         "found 'true', expected true or false"),
    ],
)  # fmt: skip
def test_an_error_names_line_wrong_value_and_right_value(old: str, new: str, at: str, says: str) -> None:
    errors = refused(old, new)
    line = line_of(at) - (1 if at == "PodDisruptionBudget" else 0)
    assert any(error.startswith(f"m.yaml:{line}: ") and says in error for error in errors), errors


def test_all_problems_are_told_at_once() -> None:
    errors = refused("replicas: 3\n  podManagementPolicy: Parallel", "replicas: x\n  podManagementPolicy: y")
    assert len(errors) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no Kubernetes object here"),
        ("a: [", "m.yaml:1: not valid YAML"),
        ("a: 1\n\tb: 2", "m.yaml:2: not valid YAML"),
        ("kind: Pod\nkind: Pod", "m.yaml:2: duplicate key 'kind', first on line 1"),
        ("just text", "expected a Kubernetes object, a map"),
        ("{apiVersion: v1, kind: Namespace}", "no metadata.name"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: ns}}", "no StatefulSet"),
        ("a: !!python/object:os.system x", "no meaning in a manifest"),
        ("a: *b", "names no anchor"),
        ("? [a]\n: b", "cannot be a key"),
    ],
)
def test_what_is_no_platform_is_refused(text: str, says: str) -> None:
    with pytest.raises(ContractError) as error:
        loaded(text)
    assert says in str(error.value)


def test_missing_objects_are_named() -> None:
    parts = BASE.split("\n---\n")
    without_config = "\n---\n".join(d for d in parts if "name: nats-config, namespace" not in d)
    with pytest.raises(ContractError, match="mounts ConfigMap 'nats-config', which does not exist"):
        loaded(without_config)
    with pytest.raises(ContractError, match=r"reads /etc/other\.conf, but no ConfigMap is mounted there"):
        loaded(BASE.replace('"/etc/nats-config/nats.conf"', '"/etc/other.conf"'))
    with pytest.raises(ContractError, match="is defined a second time"):
        loaded(BASE + "---\n" + parts[0])


def test_sources_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no such file or folder"):
        load(tmp_path / "none")
    with pytest.raises(ContractError, match="no manifests here"):
        load(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ContractError, match="not UTF-8"):
        load(tmp_path)


def test_a_server_started_through_a_shell_is_found() -> None:
    line = 'command: ["/bin/sh", "-c", "exec nats-server -c /etc/nats-config/nats.conf"]'
    contract = loaded(BASE.replace('args: ["--config", "/etc/nats-config/nats.conf"]', line))
    assert contract.config.port == 4222
