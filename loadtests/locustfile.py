"""The platform's load as Locust users.

    NATS_URL=nats://127.0.0.1:4222 locust -f loadtests/locustfile.py            web UI on port 8089
    NATSPROOF_SHAPE=steps NATSPROOF_RATE_HZ=100 locust -f loadtests/locustfile.py --headless
    locust -f loadtests/locustfile.py --processes 2 --headless -u 50 -t 1m      several worker processes

Each user of a class is an open-loop stream of NATSPROOF_RATE_PER_USER_HZ operations a second on its bucket.
All variables are in natsproof.load.locust_settings; exact latencies are on /natsproof/latency of the web UI.
"""

import sys
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import locust
from locust import LoadTestShape, User, constant, events, task
from locust.runners import MasterRunner, WorkerRunner

from natsproof.errors import NatsproofError
from natsproof.load.locust_bridge import NOT_VALID, Bridge
from natsproof.load.locust_settings import Settings
from natsproof.load.mix import share
from natsproof.load.schedule import rate_at

SETTINGS = Settings.from_environment()


class BucketUser(User):
    """A stream of operations on one bucket. The work is done by the generator; the user only exists."""

    abstract = True
    bucket: ClassVar[str] = ""
    wait_time = constant(1)

    def on_start(self) -> None:
        bridge(self.environment).add_user(self.bucket)

    def on_stop(self) -> None:
        bridge(self.environment).remove_user(self.bucket)

    @task
    def go_on(self) -> None:
        """Arrivals are the generator's business; nothing waits here for an answer."""


class MessageState(BucketUser):
    bucket = "message_state"
    weight = round(1000 * share(SETTINGS.mix, bucket=bucket))


class IntegrationLocks(BucketUser):
    bucket = "integration_locks"
    weight = round(1000 * share(SETTINGS.mix, bucket=bucket))


class RetryQueue(BucketUser):
    bucket = "retry_queue"
    weight = round(1000 * share(SETTINGS.mix, bucket=bucket))


class DeadLetterQueue(BucketUser):
    bucket = "dead_letter_queue"
    weight = round(1000 * share(SETTINGS.mix, bucket=bucket))


if SETTINGS.shaped:

    class Shape(LoadTestShape):
        """Users follow the offered rate of NATSPROOF_SHAPE or NATSPROOF_STAGES."""

        def tick(self) -> tuple[int, float] | None:
            connecting = (_begun and not _loading) or _waits_for_workers(self.runner)
            # a slow start must not eat the first stage
            rate_hz = rate_at(SETTINGS.stages(), 0.0 if connecting else self.get_run_time())
            if rate_hz is None:
                return None
            users = max(1, round(rate_hz / SETTINGS.rate_per_user_hz))
            return users, 100.0


def bridge(environment: Any) -> Bridge:
    """The one bridge of this process."""
    if not hasattr(environment, "natsproof"):
        environment.natsproof = Bridge(environment, SETTINGS)
    found: Bridge = environment.natsproof
    return found


@events.test_start.add_listener
def start(environment: Any, **_: Any) -> None:
    if not isinstance(environment.runner, MasterRunner):
        _begun.append(environment)
        try:
            bridge(environment).start()
        except NatsproofError as problem:
            print(f"natsproof load: {problem}", file=sys.stderr)
            environment.process_exit_code = 3
            environment.runner.quit()
            return
        _loading.append(environment)
    if environment.shape_class:
        environment.shape_class.reset_time()  # its stages begin now that the generators are connected


@events.quitting.add_listener
def nothing_was_loaded(environment: Any, **_: Any) -> None:
    """A run that ended before its generators were connected is no run."""
    never = environment in _begun and environment not in _loading
    if isinstance(environment.runner, MasterRunner):
        if bridge(environment).why_not_valid:  # a worker said so
            environment.process_exit_code = NOT_VALID
        by_hand = environment.web_ui and not environment.parsed_options.autostart
        never = not environment.stats.total.num_requests and not by_hand
    if never:
        print("natsproof load: ended before the platform was reached", file=sys.stderr)
        environment.process_exit_code = 3


@events.quit.add_listener
def last(**_: Any) -> None:
    """A process that quits without a test_stop still writes its files."""
    for environment in _loading:
        bridge(environment).stop()


@events.test_stop.add_listener
def stop(environment: Any, **_: Any) -> None:
    if not isinstance(environment.runner, MasterRunner):
        bridge(environment).stop()


@events.report_to_master.add_listener
def to_master(client_id: str, data: dict[str, Any]) -> None:
    worker = current_worker()
    if worker is not None:
        data["natsproof"] = bridge(worker).to_master()
        data["natsproof_not_valid"] = bridge(worker).why_not_valid
        data["natsproof_loading"] = worker in _loading


@events.init.add_listener
def init(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        _worker.append(environment)
    if isinstance(environment.runner, MasterRunner):

        def from_worker(client_id: str, data: dict[str, Any]) -> None:
            master = bridge(environment)
            master.from_worker(data.get("natsproof", {}))
            master.why_not_valid = master.why_not_valid or data.get("natsproof_not_valid", "")
            if data.get("natsproof_loading") and _waits_for_workers(environment.runner):
                _connected.add(client_id)
                if not _waits_for_workers(environment.runner) and environment.shape_class:
                    environment.shape_class.reset_time()

        environment.events.worker_report.add_listener(from_worker)
    if environment.web_ui:

        @environment.web_ui.app.route("/natsproof/latency")
        def latency() -> Any:
            found = bridge(environment)
            return {"not_valid": found.why_not_valid, "latency": found.table()}


def _waits_for_workers(runner: Any) -> bool:
    """Whether this is a master some of whose workers have not told that their generators are connected."""
    return isinstance(runner, MasterRunner) and len(_connected) < runner.worker_count


_connected: set[str] = set()
_worker: list[Any] = []
_begun: list[Any] = []
_loading: list[Any] = []


def current_worker() -> Any:
    """The environment of this process if it is a worker of a distributed run."""
    return _worker[0] if _worker else None


__all__ = ["DeadLetterQueue", "IntegrationLocks", "MessageState", "RetryQueue", "locust"]
