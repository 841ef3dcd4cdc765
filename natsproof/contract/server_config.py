"""nats.conf as the server of the first pod would read it: keys, types and ranges that nats-server checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from natsproof import units
from natsproof.contract import natsconf
from natsproof.contract.model import Place, ServerConfig
from natsproof.contract.problems import Problems, closest, shown


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Every key nats-server 2.12 knows, for the three maps whose keys are checked.
TOP_KEYS = _words(
    """
    listen client_advertise port server_name host net debug trace trace_verbose trace_headers
    logtime logtime_utc mappings maps disable_sublist_cache no_sublist_cache accounts
    default_sentinel authorization http https http_port monitor_port https_port http_base_path
    cluster gateway leaf leafnodes store_dir storedir jetstream logfile log_file logfile_size_limit
    log_size_limit logfile_max_num log_max_num syslog remote_syslog pidfile pid_file ports_file_dir
    prof_port prof_block_rate max_control_line max_payload max_pending proxy_protocol
    max_connections max_conn max_traced_msg_len max_subscriptions max_subs max_sub_tokens
    max_subscription_tokens ping_interval ping_max tls ocsp allow_non_tls write_deadline
    write_timeout lame_duck_duration lame_duck_grace_period operator operators roots root
    root_operators root_operator resolver account_resolver accounts_resolver resolver_tls
    resolver_preload resolver_pinned_accounts no_auth_user system_account system no_system_account
    no_system no_sys_acc no_header_support trusted trusted_keys connect_error_reports
    reconnect_error_reports websocket ws mqtt server_tags server_metadata default_js_domain
    ocsp_cache no_fast_producer_stall max_closed_clients proxies
    """
)
JETSTREAM_KEYS = _words(
    """
    strict store store_dir storedir sync sync_interval max_memory_store max_mem_store max_mem
    max_file_store max_file domain enable enabled key ek encryption_key prev_key prev_ek
    prev_encryption_key cipher extension_hint limits tpm unique_tag max_outstanding_catchup
    max_buffered_size max_buffered_msgs request_queue_limit meta_compact meta_compact_size
    meta_compact_sync
    """
)
CLUSTER_KEYS = _words(
    """
    name listen port host net authorization routes tls cluster_advertise advertise no_advertise
    connect_retries connect_backoff permissions pool_size accounts compression ping_interval
    ping_max write_deadline write_timeout
    """
)


class _Reader:
    """Typed reads by any of a key's names; each wrong value is one problem."""

    def __init__(
        self, parsed: natsconf.Parsed, place_of: Callable[[natsconf.Spot], Place], problems: Problems
    ) -> None:
        self.parsed, self.place_of, self.problems = parsed, place_of, problems
        self.places = {path: place_of(spot) for path, spot in parsed.spots.items()}

    def found(self, path: str, names: str) -> tuple[str, Any]:
        """The dotted path and value of the last written of several names; keys ignore case."""
        scope: Any = self.parsed.tree
        for step in path.split(".") if path else ():
            scope = scope.get(step) if isinstance(scope, dict) else None
        if not isinstance(scope, dict):
            return "", None
        for key in reversed(scope):
            if key.lower() in names.split():
                return f"{path}.{key}" if path else key, scope[key]
        return "", None

    def wrong(self, at: str, value: Any, expected: str) -> None:
        self.problems.add(self.places[at], f"{at}: found {shown(value)}, expected {expected}")

    def read(self, path: str, names: str, kind: type, expected: str) -> Any:
        at, value = self.found(path, names)
        if not at:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.wrong(at, value, expected)
            return None
        return value

    def text(self, path: str, names: str) -> str | None:
        value: str | None = self.read(
            path, names, str, "text; a word that looks like a number or a boolean needs quotes"
        )
        return value

    def integer(self, path: str, names: str) -> int | None:
        value: int | None = self.read(path, names, int, "a number without quotes (for example 4222)")
        return value

    def boolean(self, path: str, names: str) -> bool | None:
        value: bool | None = self.read(path, names, bool, "true or false without quotes")
        return value

    def size(self, path: str, names: str) -> int | None:
        at, value = self.found(path, names)
        if not at:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if not isinstance(value, str):
            self.wrong(at, value, 'a size (for example 10GiB or "10G")')
            return None
        try:
            return units.quoted_conf_size(value)
        except ValueError as error:
            self.problems.add(self.places[at], f"{at}: {error}")
            return None

    def duration(self, path: str, names: str, *, seconds_allowed: bool) -> float | None:
        at, value = self.found(path, names)
        if not at:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            if seconds_allowed:
                return float(value)
            self.wrong(
                at,
                value,
                'a duration in quotes, such as "2m": without quotes 2m is two million to nats-server',
            )
            return None
        if not isinstance(value, str):
            self.wrong(at, value, 'a duration (for example "30s")')
            return None
        try:
            return units.go_duration_s(value)
        except ValueError as error:
            self.problems.add(self.places[at], f"{at}: {error}")
            return None

    def known_keys(self, path: str, known: frozenset[str]) -> None:
        scope: Any = self.parsed.tree
        for step in path.split(".") if path else ():
            scope = scope.get(step)
        if not isinstance(scope, dict):
            return
        for key in scope:
            at = f"{path}.{key}" if path else key
            if key.lower() in known or key in self.parsed.variables:
                continue
            where = f"the {path} block" if path else "nats.conf"
            self.problems.add(
                self.places.get(at, self.places.get(path, Place("nats.conf", 1))),
                f"unknown field {key!r} in {where}{closest(key, known)}; nats-server refuses to start",
            )

    def port(self, path: str, port_names: str, listen_names: str) -> int | None:
        """A port from its own key or from `listen` / `http` as `host:port`; the later written wins."""
        own = self.integer(path, port_names)
        at, value = self.found(path, listen_names)
        if not at:
            return own
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and value.rpartition(":")[2].isdigit() and ":" in value:
            return int(value.rpartition(":")[2])
        self.wrong(at, value, "a port or host:port (for example 0.0.0.0:4222)")
        return own


def read(
    parsed: natsconf.Parsed, place: Place, place_of: Callable[[natsconf.Spot], Place], problems: Problems
) -> ServerConfig:
    """The typed configuration. What `nats-server -t` would refuse is added to `problems`."""
    reader = _Reader(parsed, place_of, problems)
    reader.known_keys("", TOP_KEYS)
    jetstream_at, jetstream = reader.found("", "jetstream")
    cluster_at, cluster = reader.found("", "cluster")
    values: dict[str, Any] = {
        "server_name": _name(reader, "", "server_name"),
        "port": reader.port("", "port", "listen"),
        "http_port": reader.port("", "http_port monitor_port", "http"),
        "pid_file": reader.text("", "pid_file pidfile"),
        "max_payload_bytes": reader.integer("", "max_payload"),
        "lame_duck_duration_s": reader.duration("", "lame_duck_duration", seconds_allowed=False),
        "lame_duck_grace_s": reader.duration("", "lame_duck_grace_period", seconds_allowed=False),
        "store_dir": reader.text("", "store_dir storedir"),
    }
    if (values["lame_duck_duration_s"] or 30) < 30:
        at, value = reader.found("", "lame_duck_duration")
        reader.wrong(at, value, "30s or more; nats-server refuses less")
    if jetstream_at:
        values |= _jetstream(reader, jetstream_at, jetstream, values["store_dir"])
    if cluster_at:
        values |= _cluster(reader, cluster_at, cluster)
    server_name_at, _ = reader.found("", "server_name")
    return ServerConfig(
        place=place,
        places=reader.places | _field_places(reader),
        tree=parsed.tree,
        server_name_variable=parsed.variable_of.get(server_name_at),
        variables={name: place_of(spot) for name, spot in parsed.variables.items()},
        **values,
    )


def _name(reader: _Reader, path: str, names: str) -> str | None:
    value = reader.text(path, names)
    if value is not None and " " in value:
        at, _ = reader.found(path, names)
        reader.wrong(at, value, "a name without spaces")
    return value


def _jetstream(reader: _Reader, at: str, value: Any, store_dir: str | None) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"jetstream": value}
    if isinstance(value, str):
        if value.lower() not in ("enabled", "enable", "disabled", "disable"):
            reader.wrong(at, value, "enabled, disabled, true, false or a map")
        return {"jetstream": value.lower() in ("enabled", "enable")}
    if not isinstance(value, dict):
        reader.wrong(at, value, "enabled, disabled, true, false or a map")
        return {}
    reader.known_keys(at, JETSTREAM_KEYS)
    own_dir = reader.text(at, "store_dir store storedir")
    if own_dir and store_dir:
        own_at, _ = reader.found(at, "store_dir store storedir")
        reader.wrong(own_at, own_dir, "store_dir in one place, here or at the top; nats-server refuses both")
    sync_at, sync = reader.found(at, "sync_interval sync")
    always = isinstance(sync, str) and sync.lower() == "always"
    enabled = reader.boolean(at, "enabled enable")
    return {
        "jetstream": True if enabled is None else enabled,
        "store_dir": own_dir or store_dir,
        "max_memory_bytes": reader.size(at, "max_mem max_memory_store max_mem_store"),
        "max_file_bytes": reader.size(at, "max_file max_file_store"),
        "sync_always": always,
        "sync_interval_s": None
        if always or not sync_at
        else reader.duration(at, "sync_interval sync", seconds_allowed=False),
    }


def _cluster(reader: _Reader, at: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        reader.wrong(at, value, "a map (for example { name: c, port: 6222, routes: [ … ] })")
        return {}
    reader.known_keys(at, CLUSTER_KEYS)
    routes_at, routes = reader.found(at, "routes")
    if routes_at and not isinstance(routes, list):
        reader.wrong(routes_at, routes, "a list of URLs (for example [nats://nats-0.nats:6222])")
        routes = []
    found = []
    for number, route in enumerate(routes or ()):
        where = f"{routes_at}.{number}" if f"{routes_at}.{number}" in reader.places else routes_at
        if isinstance(route, str) and _is_route(route):
            found.append(route)
        else:
            reader.wrong(where, route, "a URL (for example nats://nats-0.nats-headless:6222)")
    return {
        "cluster_name": _name(reader, at, "name"),
        "cluster_port": reader.port(at, "port", "listen"),
        "routes": tuple(found),
        "no_advertise": bool(reader.boolean(at, "no_advertise")),
    }


def _is_route(route: str) -> bool:
    try:
        parts = urlsplit(route.strip())
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.scheme and parts.hostname) or "$" in route


_FIELDS: Mapping[str, tuple[str, str]] = {
    "server_name": ("", "server_name"),
    "server_name_variable": ("", "server_name"),
    "port": ("", "port listen"),
    "http_port": ("", "http_port monitor_port http"),
    "pid_file": ("", "pid_file pidfile"),
    "lame_duck_duration_s": ("", "lame_duck_duration"),
    "lame_duck_grace_s": ("", "lame_duck_grace_period"),
    "max_payload_bytes": ("", "max_payload"),
    "jetstream": ("", "jetstream"),
    "store_dir": ("jetstream", "store_dir store storedir"),
    "max_memory_bytes": ("jetstream", "max_mem max_memory_store max_mem_store"),
    "max_file_bytes": ("jetstream", "max_file max_file_store"),
    "sync_always": ("jetstream", "sync_interval sync"),
    "sync_interval_s": ("jetstream", "sync_interval sync"),
    "cluster_name": ("cluster", "name"),
    "cluster_port": ("cluster", "port listen"),
    "routes": ("cluster", "routes"),
    "no_advertise": ("cluster", "no_advertise"),
}


def _field_places(reader: _Reader) -> dict[str, Place]:
    """The model's fields under their own names, beside the dotted paths."""
    result: dict[str, Place] = {}
    for name, (block, keys) in _FIELDS.items():
        path = reader.found("", block)[0] if block else ""
        at = reader.found(path, keys)[0] if path or not block else ""
        if not at and name == "store_dir":
            at = reader.found("", "store_dir storedir")[0]
        if at in reader.places:
            result[name] = reader.places[at]
    return result
