"""EmbeddedCluster: the manifests on this machine, with what needs no namespaces. More: capable.py."""

from __future__ import annotations

import functools
import http.client
import json
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from natsproof.clock import wait_until
from natsproof.cluster import JobResult, PodEvent, Server
from natsproof.cluster.binaries import Binaries, for_image
from natsproof.cluster.embedded.controller import ControlPlane
from natsproof.cluster.embedded.differences import differences
from natsproof.cluster.embedded.kubelet import ContainerState
from natsproof.cluster.embedded.loopback import LoopbackRuntime
from natsproof.cluster.embedded.podplan import secret_values
from natsproof.cluster.embedded.probes import port_of
from natsproof.cluster.embedded.refused import NOT_POSSIBLE
from natsproof.cluster.embedded.runtime import Runtime, is_stopped
from natsproof.cluster.embedded.stores import FolderStore, VolumeStore
from natsproof.cluster.embedded.universe import universe
from natsproof.contract.model import Contract
from natsproof.errors import ClusterError, DeadlineExceeded, NotUp, UsageError

UP_LIMIT_S = 120.0
VERB_LIMIT_S = 30.0


class EmbeddedCluster:
    """On loopback: Killable, Stoppable, Pausable, VolumeAccess, Scalable. Make it with `embedded(...)`.

    `workdir` keeps logs/, volumes/ and pods/ after `down`; it is the caller's to delete.
    """

    kind = "embedded"
    volumes: str = "directory"

    def __init__(self, contract: Contract, workdir: Path, binaries: Binaries) -> None:
        self.contract = contract
        self.workdir = workdir.resolve()
        self.binaries = binaries
        self._plane: ControlPlane | None = None
        self._runtime: Runtime | None = None
        self._store: VolumeStore | None = None
        self._last_job: JobResult | None = None

    def beside(self, contract: Contract, name: str) -> EmbeddedCluster:
        """The same kind of cluster from other manifests, below this one's `workdir`."""
        return type(self)(contract, self.workdir / "beside" / name, self.binaries)

    def prepare(self, needs: Iterable[str]) -> None:
        """Before `up`: the capabilities that will be used. Some need volumes of another make."""

    def up(self, *, within_s: float = UP_LIMIT_S) -> None:
        """Until every pod is Ready and the Job complete. Raises NotUp with events and log lines."""
        self.begin()
        try:
            self.wait_ready(within_s=within_s)
        except BaseException:
            self.down()
            raise

    def begin(self) -> None:
        """Apply the manifests and return at once; `wait_ready` waits. For who measures the first write."""
        if self._plane:
            raise UsageError("this cluster is up already")
        self.workdir.mkdir(parents=True, exist_ok=True)
        self._runtime = self._make_runtime()
        programs = {"nats-server": self.binaries.server.path, "nats": self.binaries.cli.path}
        self._store = self._make_store()
        self._plane = ControlPlane(self.contract, self._runtime, programs, self.workdir, self._store)
        self._plane.begin()

    def wait_ready(self, *, within_s: float = UP_LIMIT_S) -> None:
        plane = self._running()
        try:
            plane.call(plane.all_ready(), within_s)
        except DeadlineExceeded:
            not_ready = [name for name, pod in plane.pods.items() if not pod.ready]
            missing = plane.replicas - len(plane.pods)
            waiting = ", ".join(not_ready) or "no pod"
            job = "" if plane.job is None or plane.job.done else "; the set-up Job is not complete"
            more = f"; {missing} pods were not created yet (ordered start)" if missing > 0 else ""
            raise self._not_up()(
                f"the platform did not come up within {within_s:g} s: not Ready: {waiting}{more}{job}\n"
                f"{self._evidence()}"
            ) from None
        except ClusterError as problem:
            raise type(problem)(f"{problem}\n{self._evidence()}") from problem

    def _not_up(self) -> type[ClusterError]:
        """NotUp, unless something of ours or of the host's kept a pod back: then nothing is known."""
        stopped_here = any(event.what == NOT_POSSIBLE for event in self.events())
        return ClusterError if stopped_here else NotUp

    def down(self) -> None:
        plane, runtime = self._plane, self._runtime
        try:
            if plane:
                self._last_job = plane.job.result if plane.job else None
                plane.end()
        finally:
            self._runtime = None
            if runtime:
                runtime.close()
        if self._store:
            self._store.close()
        shutil.rmtree(self.workdir / "stage", ignore_errors=True)

    @property
    def servers(self) -> tuple[Server, ...]:
        """The StatefulSet's pods by ordinal, running or not."""
        plane = self._running()
        port = self.contract.config.port or 4222
        monitor = self.contract.config.http_port or port_of(self.contract.server_container, "monitor")
        pods = sorted(plane.pods.values(), key=lambda pod: pod.identity.ordinal)
        return tuple(
            Server(
                pod.name,
                pod.identity.ordinal,
                f"nats://{pod.identity.ip}:{port}",
                f"http://{pod.identity.ip}:{monitor}",
            )
            for pod in pods
        )

    @property
    def job(self) -> JobResult | None:
        plane = self._plane
        return plane.job.result if plane and plane.job else self._last_job

    def ready(self, server: str) -> bool:
        return self._running().pod(server).ready

    def running(self, server: str) -> bool:
        return self._main(server).alive

    def pid(self, server: str) -> int | None:
        """The server's process as this process sees it (for RSS, /proc); None while it is down."""
        state = self._main(server)
        return state.process.pid if state.process and state.alive else None

    def restarts(self, server: str) -> int:
        """How often the kubelet restarted it by itself: crashes and failed liveness probes."""
        return self._main(server).restarts

    def monitor(self, server: str, path: str, *, timeout_s: float = 2.0) -> Any:
        """Over the node's own link, which a partition of the clients does not cut."""
        assert self._runtime is not None
        where = next((s for s in self.servers if s.name == server), None)
        if where is None:
            raise UsageError(f"no server {server!r}")
        host, _, port = where.monitor_url.removeprefix("http://").partition(":")
        source = (self._runtime.node_address, 0)
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s, source_address=source)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise ClusterError(f"{server}{path}: HTTP status {answer.status}: {body[:300].decode()}")
            return json.loads(body)
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise ClusterError(f"{server}{path}: {problem or type(problem).__name__}") from problem
        finally:
            connection.close()

    def log(self, server: str) -> str:
        path = self.workdir / "logs" / f"{server}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def events(self) -> Sequence[PodEvent]:
        return tuple(self._plane.node.events) if self._plane else ()

    def describe(self) -> Mapping[str, Any]:
        here = universe()
        programs = {b.name: {k: str(v) for k, v in asdict(b).items()} for b in self._both()}
        return {
            "kind": self.kind,
            "isolation": here.isolation.value,
            "isolation_why": here.why,
            "binaries": programs,
            "images": sorted({c.image for c in self.contract.statefulset.template.containers}),
            "volumes": self.volumes,
            "host": {"kernel": platform.release(), "machine": platform.machine(), "cpus": os.cpu_count()},
            "differences": differences(self.contract, self.binaries, here.isolation, self.volumes),
        }

    def kill(self, server: str) -> None:
        plane = self._running()
        plane.call(plane.kill(server), VERB_LIMIT_S)

    def start(self, server: str) -> None:
        """Start a killed or stopped server; returns when its process runs. No effect on a running one."""
        plane = self._running()
        plane.call(plane.start(server), VERB_LIMIT_S)

    def stop(self, server: str) -> None:
        plane = self._running()
        grace_s = self.contract.statefulset.template.termination_grace_period_s
        plane.call(plane.stop(server), grace_s + VERB_LIMIT_S)

    def pause(self, server: str) -> None:
        self._signal_all([server], signal.SIGSTOP)

    def resume(self, server: str) -> None:
        self._signal_all([server], signal.SIGCONT)

    def scale(self, replicas: int) -> None:
        """Returns when all pods that are wanted are Ready (or created, where the policy is Parallel)."""
        plane = self._running()
        grace_s = self.contract.statefulset.template.termination_grace_period_s
        surplus = max(0, len(plane.pods) - replicas)
        plane.call(plane.scale(replicas), UP_LIMIT_S + surplus * (grace_s + VERB_LIMIT_S))

    def apply(self, contract: Contract) -> None:
        """Changed manifests: ConfigMaps reach mounted folders at once, pods when they are next made.

        Pods that run go on as they are (`rolling_restart`); the set-up Job is not run again. With another
        server image, containers started from now on run that version's nats-server, which must be in the
        cache: there is no network here. Raises ClusterError.
        """
        plane, image = self._running(), contract.server_container.image
        if image != self.contract.server_container.image:
            self.binaries = for_image(image, cli=self.binaries.cli.path)
            plane.node.programs = {**plane.node.programs, "nats-server": self.binaries.server.path}
        self.contract = plane.node.contract = contract
        plane.refresh_volumes()

    def administer(self, script: str, *, folder: Path, within_s: float = 60.0) -> tuple[int, str]:
        """Run a bash script beside the servers, as from the runbook's tools pod."""
        tools = self.workdir / "tools"
        tools.mkdir(exist_ok=True)
        if not (tools / "nats").is_symlink():
            (tools / "nats").symlink_to(self.binaries.cli.path)
        user, password = self._system_user()
        environment = {
            "PATH": f"{tools}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "NATS_URL": ",".join(server.client_url for server in self.servers),
            "HOME": str(folder),
            "SYS_USER": user,
            "SYS_PASSWORD": password,
        }
        try:
            done = subprocess.run(
                ["bash", "-c", script],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=within_s,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise DeadlineExceeded(f"a script took longer than {within_s:g} s: {script[-200:]}") from late
        return done.returncode, done.stdout

    def run_job(self) -> JobResult:
        """The set-up Job's pod once more, without a second attempt."""
        plane = self._running()
        return plane.call(plane.run_job_once(), UP_LIMIT_S)

    def _system_user(self) -> tuple[str, str]:
        """Name and password in the system account, as the manifests give them; empty without one."""
        tree = self.contract.config.tree
        account = tree.get("accounts", {}).get(tree.get("system_account", ""), {})
        # the Contract has no secrets' values; the server's container has one secret, the password
        secrets = [
            secret_values(self.contract, variable.secret)[variable.key]
            for variable in self.contract.server_container.env
            if variable.secret and variable.key
        ]
        for user in account.get("users", ()):
            return str(user["user"]), secrets[0] if secrets else str(user.get("password", ""))
        return "", ""

    def rolling_restart(self) -> None:
        """As `kubectl rollout restart`: from the highest ordinal, each when the one before is Ready."""
        for server in reversed(self.servers):
            self.stop(server.name)
            self.start(server.name)
            ready = functools.partial(self.ready, server.name)
            wait_until(f"{server.name} to be Ready", ready, within_s=UP_LIMIT_S)

    def volume_path(self, server: str) -> Path:
        """The folder of the claim that holds the server's store. Not a moment's picture while it runs."""
        return self._running().claim_folder(self._store_claim(), server)

    def wipe_volume(self, server: str) -> None:
        """Empty the volume. Raises UsageError while the server runs."""
        if self.running(server):
            raise UsageError(f"{server} runs; kill or stop it before wiping its volume")
        for path in self.volume_path(server).iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        self._running().node.record(server, "volume-lost", "wiped")

    def _make_runtime(self) -> Runtime:
        universe()
        return LoopbackRuntime(self.workdir, self.contract)

    def _make_store(self) -> VolumeStore:
        return FolderStore(self.workdir / "volumes")

    def _store_claim(self) -> str:
        """The claim mounted nearest above store_dir."""
        store = self.contract.config.store_dir or "/"
        claims = {claim.name for claim in self.contract.statefulset.claims}
        above = [
            mount
            for mount in self.contract.server_container.mounts
            if mount.name in claims and Path(store).is_relative_to(mount.mount_path)
        ]
        if not above:
            raise ClusterError(f"store_dir {store!r} is on no claim: the server's data is not on a volume")
        return max(above, key=lambda mount: len(mount.mount_path)).name

    def _running(self) -> ControlPlane:
        if self._plane is None:
            raise ClusterError("this cluster is down; call up() first")
        return self._plane

    def _main(self, server: str) -> ContainerState:
        return self._running().pod(server).main(self.contract.server_container.name)

    def _signal_all(self, servers: Sequence[str], number: int) -> None:
        for server in servers:
            state = self._main(server)
            if state.process is None or not state.alive:
                raise ClusterError(f"{server} does not run; there is nothing to pause or resume")
            state.process.signal_all(number)
        for server in servers:
            if number == signal.SIGSTOP and (pid := self.pid(server)):
                wait_until(f"{server} to stop", lambda p=pid: is_stopped(p), within_s=VERB_LIMIT_S)  # type: ignore[misc]
            what = "paused" if number == signal.SIGSTOP else "resumed"
            self._running().node.record(server, what)

    def _both(self) -> tuple[Any, Any]:
        return self.binaries.server, self.binaries.cli

    def _evidence(self) -> str:
        events = [f"  {e.pod}: {e.what} {e.detail}".rstrip() for e in self.events()]
        lines = ["events (last 30):", *events[-30:]]
        for name in self._running().pods:
            lines += [f"{name}, last lines of {self.workdir / 'logs' / name}.log:"]
            telling = [line for line in self.log(name).splitlines() if "Healthcheck failed" not in line]
            lines += [f"  {line}" for line in telling[-8:]]
        if (job := self.job) and not job.complete:
            lines += ["set-up Job:", *(f"  {line}" for line in job.log.splitlines()[-15:])]
        return "\n".join(lines)
