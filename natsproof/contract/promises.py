"""The promises of a platform, from the ConfigMap that carries the key `promises.yaml`.

```yaml
buckets:                      # every bucket the platform owes
- name: message_state
  ttl: 15m                    # nats CLI durations: s, m, h, d, w; leave out for "never expires"
  max_bytes: 10GiB            # nats CLI sizes (10G, 10GB and 10GiB are all 10·2³⁰); leave out for unlimited
  max_value_bytes: 1MiB       # optional
  replicas: 3
  storage: file               # file or memory, default file
  history: 1                  # default 1
survives:                     # deaths that an acknowledged write outlives, of SURVIVALS
- process-kill-one
linearizable:                 # faults through which writes and leader reads have one order, of DISTURBANCES
- process-kill-one
recovery:                     # time until writes go on, by fault, of RECOVERIES
  one-server-killed: 15s
expiry_late: 2s               # nothing lives longer than ttl + this
direct_get_late: 2s           # a direct get, from any replica, shows nothing overwritten longer ago than this
monitoring: [/varz, /jsz]     # paths that answer 200 on every server
rate_floor_hz: 500            # acknowledged puts a second, all buckets together, every server up
rate_floor_one_down_hz: 300   # the same with one server down
p99: 50ms                     # put latency at the rate floor
storage_class: longhorn       # of the volumes
```

Unknown keys, wrong types and words are errors with `file:line`. Only `buckets` is required.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from natsproof import units
from natsproof.contract import yaml_source
from natsproof.contract.model import Bucket, ConfigMap, Place, Promises
from natsproof.contract.problems import Problems, closest, shown
from natsproof.contract.yaml_source import Node
from natsproof.errors import ContractError

KEY = "promises.yaml"
SURVIVALS = (
    "process-kill-one",
    "process-kill-all",
    "pod-moved",  # deleted in good order and made anew with its volume, on this node or another
    "power-loss-one",
    "power-loss-all",
    "partition",  # one, that is over before the next
    "partition-flapping",  # cuts in a row or of some pairs, so that who led before leads again soon
    "volume-full-one",
    "volume-full-all",
    "volume-set-back-one",
    "bit-rot-one",
    "packet-loss",
    "narrow-link-one",
    "clock-shift-one",
    "clock-shift-one-expiry",
)
DISTURBANCES = ("process-kill-one", "process-kill-all", "rolling-restart", "pause", "partition")
RECOVERIES = (
    "one-server-killed",
    "leader-paused",
    "quorum-restored",
    "all-restarted",
    "rolling-restart",
    "partition-healed",
    "power-restored",
    "volumes-freed",
)
_FIELDS = {
    "buckets": "buckets",
    "survives": "survives",
    "linearizable": "linearizable",
    "recovery": "recovery_s",
    "expiry_late": "expiry_late_s",
    "direct_get_late": "direct_get_late_s",
    "monitoring": "monitoring",
    "rate_floor_hz": "rate_floor_hz",
    "rate_floor_one_down_hz": "rate_floor_one_down_hz",
    "p99": "p99_s",
    "storage_class": "storage_class",
}
_BUCKET_FIELDS = {
    "name": "name",
    "ttl": "ttl_s",
    "max_bytes": "max_bytes",
    "max_value_bytes": "max_value_bytes",
    "replicas": "replicas",
    "storage": "storage",
    "history": "history",
}
_T = TypeVar("_T")


def read(config_map: ConfigMap, problems: Problems) -> Promises:
    """The promises of a ConfigMap that has the key; what is wrong goes to `problems`."""
    first = config_map.text_at.get(KEY, config_map.at(KEY))
    # Blank lines before the text make the lines of the inner document those of the file.
    try:
        roots = yaml_source.documents("\n" * (first.line - 1) + config_map.data[KEY], first.file)
    except ContractError as error:
        problems.add(first, f"in {KEY}: {error}")
        return Promises(place=first)
    if len(roots) != 1 or not isinstance(roots[0].value, dict):
        problems.add(first, f"{KEY} must be one map with the key `buckets`")
        return Promises(place=first)
    return _Reader(problems).promises(roots[0])


class _Reader:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def promises(self, root: Node) -> Promises:
        self.known(root, tuple(_FIELDS), KEY)
        buckets = tuple(self.bucket(node) for node in self.list(root, "buckets"))
        if root.get("buckets") is None or not buckets:
            self.problems.add(root.place, f"{KEY} promises no bucket; list them under `buckets`")
        names = [bucket.name for bucket in buckets]
        for number, bucket in enumerate(buckets):
            if bucket.name in names[:number]:
                self.problems.add(bucket.place, f"bucket {bucket.name!r} is promised twice")
        recovery = self.map(root, "recovery")
        if recovery is not None:
            self.known(recovery, RECOVERIES, "recovery")
        places = {_FIELDS[key]: place for key, place in root.keys.items() if key in _FIELDS}
        places |= {f"recovery.{key}": place for key, place in (recovery.keys if recovery else {}).items()}
        return Promises(
            place=root.place,
            places=places,
            buckets=buckets,
            survives=self.words(root, "survives", SURVIVALS),
            linearizable=self.words(root, "linearizable", DISTURBANCES),
            recovery_s={
                key: self.parsed(node, units.cli_duration_s, 0.0, f"recovery.{key}")
                for key, node in (recovery.value if recovery else {}).items()
            },
            expiry_late_s=self.field(root, "expiry_late", units.cli_duration_s, None),
            direct_get_late_s=self.field(root, "direct_get_late", units.cli_duration_s, None),
            monitoring=self.paths(root),
            rate_floor_hz=self.number(root, "rate_floor_hz"),
            rate_floor_one_down_hz=self.number(root, "rate_floor_one_down_hz"),
            p99_s=self.field(root, "p99", units.cli_duration_s, None),
            storage_class=self.field(root, "storage_class", _word, None),
        )

    def bucket(self, node: Node) -> Bucket:
        if not isinstance(node.value, dict):
            self.problems.add(
                node.place, f"found {shown(node.plain())}, expected a bucket: a map with `name`"
            )
            return Bucket(name="", place=node.place)
        self.known(node, tuple(_BUCKET_FIELDS), "a bucket")
        name = self.field(node, "name", _bucket_name, "")
        if node.get("name") is None:
            self.problems.add(node.place, "the bucket has no name (for example message_state)")
        storage = self.field(node, "storage", _word, "file")
        if storage not in ("file", "memory"):
            self.problems.add(node.keys["storage"], f"storage {storage!r} is neither file nor memory")
        return Bucket(
            place=node.place,
            places={_BUCKET_FIELDS[key]: place for key, place in node.keys.items() if key in _BUCKET_FIELDS},
            name=name,
            ttl_s=self.field(node, "ttl", units.cli_duration_s, None) or None,
            max_bytes=self.field(node, "max_bytes", _bytes, None),
            max_value_bytes=self.field(node, "max_value_bytes", _bytes, None),
            replicas=self.integer(node, "replicas", 1, 1, 5),
            storage=storage,
            history=self.integer(node, "history", 1, 1, 64),
        )

    def known(self, node: Node, names: tuple[str, ...], where: str) -> None:
        for key in node.value:
            if key not in names:
                hint = closest(key, names) or f"; known: {', '.join(names)}"
                self.problems.add(node.keys[key], f"unknown key {key!r} in {where}{hint}")

    def list(self, root: Node, key: str) -> list[Node]:
        node = root.get(key)
        if node is None or node.value is None:
            return []
        if not isinstance(node.value, list):
            self.problems.add(root.keys[key], f"{key}: found {shown(node.plain())}, expected a list")
            return []
        return node.value

    def map(self, root: Node, key: str) -> Node | None:
        node = root.get(key)
        if node is None or node.value is None:
            return None
        if not isinstance(node.value, dict):
            self.problems.add(root.keys[key], f"{key}: found {shown(node.plain())}, expected a map")
            return None
        return node

    def field(self, root: Node, key: str, parse: Callable[[str], _T], default: Any) -> Any:
        node = root.get(key)
        return default if node is None or node.value is None else self.parsed(node, parse, default, key)

    def parsed(self, node: Node, parse: Callable[[str], _T], default: Any, what: str) -> Any:
        if isinstance(node.value, bool) or not isinstance(node.value, (str, int)):
            self.problems.add(node.place, f"{what}: found {shown(node.plain())}, expected text such as 15m")
            return default
        try:
            value = parse(str(node.value))
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"found {node.value}, expected no negative value")
        except ValueError as error:
            self.problems.add(node.place, f"{what}: {error}")
            return default
        return value

    def number(self, root: Node, key: str) -> float:
        node = root.get(key)
        if node is None or node.value is None:
            return 0.0
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)) or node.value < 0:
            self.problems.add(
                node.place, f"{key}: found {shown(node.plain())}, expected puts a second (for example 500)"
            )
            return 0.0
        return float(node.value)

    def integer(self, root: Node, key: str, default: int, least: int, most: int) -> int:
        node = root.get(key)
        if node is None or node.value is None:
            return default
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.problems.add(
                node.place, f"{key}: found {shown(node.plain())}, expected an integer from {least} to {most}"
            )
            return default
        return value

    def words(self, root: Node, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        found = []
        for node in self.list(root, key):
            if node.value in known:
                found.append(str(node.value))
            else:
                hint = closest(node.value, known) if isinstance(node.value, str) else ""
                self.problems.add(
                    node.place,
                    f"{key}: found {shown(node.plain())}, expected one of {', '.join(known)}{hint}",
                )
        return tuple(found)

    def paths(self, root: Node) -> tuple[str, ...]:
        found = []
        for node in self.list(root, "monitoring"):
            if isinstance(node.value, str) and node.value.startswith("/"):
                found.append(node.value)
            else:
                self.problems.add(
                    node.place,
                    f"monitoring: found {shown(node.plain())}, expected a path (for example /varz)",
                )
        return tuple(found)


def _word(text: str) -> str:
    return text


def _bytes(text: str) -> int:
    value = units.cli_size(text)
    if value < 1:
        raise ValueError(f"{text!r} is no limit; leave it out for unlimited, or write for example 10GiB")
    return value


def _bucket_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise ValueError(f"{text!r} is no bucket name; letters, digits, _ and - are allowed")
    return text


def without(place: Place) -> Promises:
    """No promises at all, for manifests that carry none."""
    return Promises(place=place)
