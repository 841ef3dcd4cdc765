"""`pytest suites/`: options, fixtures, verdicts as outcomes, exit codes.

Nothing here acts on a session that certifies nothing: `pytest tests/` keeps its namespaces and its output.
This module and what it imports must not import numpy: its threads would forbid an ordinary user the
namespaces that the embedded cluster lives in.

Exit codes: 0 every claim holds · 1 a promise is broken · 2 interrupted · 3 the cluster failed ·
4 wrong manifests or options · 6 not decided.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from natsproof import __version__, host, misplaced, under_test
from natsproof import options as run_options
from natsproof.certification import PROPERTY, Certification
from natsproof.certify import Certify
from natsproof.claims import NODEID, command_line, is_claim, names_suites, nodeid_of, whole_suite
from natsproof.errors import ClusterError, ContractError, NatsproofError, UsageError

if TYPE_CHECKING:
    from natsproof.cluster import Abilities
    from natsproof.contract.model import Contract
    from natsproof.options import Options

CERTIFICATION = pytest.StashKey[Certification]()

MAX_UNKNOWN_SHOWN = 10

MARKERS = (
    "needs(*capabilities): what a cluster must be able to do to decide this claim",
    "depth(level): the least --depth that decides this claim",
    "planted(trial): this claim's trial runs beside the others from the start of the session; judged last",
    "grade(name): the grade of durability this claim is about",
    "xdist_group(name): claims that one worker runs; pytest-xdist has its own, but may be switched off",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    run_options.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    start = config.invocation_params.dir
    is_worker = hasattr(config, "workerinput")
    if config.option.help or config.option.version:
        return
    if is_worker:
        if "natsproof" in config.workerinput:  # type: ignore[attr-defined]
            activate(config)
    elif names_suites(config.args, start) or run_options.given(config):
        activate(config)
    else:
        config.pluginmanager.register(misplaced.InController())


def activate(config: pytest.Config) -> Certification:
    """Make this process a certifying one: read the contract, enter the universe."""
    given: Mapping[str, Any] = getattr(config, "workerinput", {}).get("natsproof", {})
    workers = 0 if given else int(getattr(config.option, "numprocesses", None) or 0)
    try:
        options = run_options.read_options(config, given.get("seed"))
        if "-" in options.manifests:
            read_standard_input(config)
        contract = load_contract(options)
        under_test.choose(contract)
        if workers > 1 and not options.per_trial and options.cluster != "none":
            raise UsageError(f"--cluster {options.cluster} is one cluster: run without -n")
        # an ordinary user's workers inherit the user namespace that only this early process can make
        enter = workers == 0 or os.geteuid() != 0
        open_cluster, facts = prepare_host(options, contract, enter=enter)
    except (ContractError, UsageError) as problem:
        raise pytest.UsageError(str(problem)) from None
    start = config.invocation_params.dir
    certification = Certification(
        options,
        contract,
        open_cluster,
        lambda: capabilities(open_cluster),
        {**_header(config, options, contract), **facts},
        worker=config.workerinput["workerid"] if given else "main",  # type: ignore[attr-defined]
        folder=Path(given["folder"]) if given else None,
        partial=not whole_suite(config.args, start),
    )
    config.stash[CERTIFICATION] = certification
    config.pluginmanager.register(certification, "natsproof-certification")
    if not given and getattr(config.option, "verbose", 1) == 0:
        config.option.verbose = 1  # a line a claim: each takes seconds
        config.option.reportchars = ""  # the summary names them once
    if workers and config.option.dist == "load":
        config.option.dist = "loadgroup"
    if workers and config.option.maxworkerrestart is None:
        config.option.maxworkerrestart = "0"  # xdist would run the claim that killed it again, or hang
    # exit codes speak of claims; a leak inside natsproof is shown and does not end as "broken"
    config.addinivalue_line("filterwarnings", "default::pytest.PytestUnraisableExceptionWarning")
    _end_on_sigterm(config, certification)
    return certification


def read_standard_input(config: pytest.Config) -> None:
    """pytest's capturing hides standard input; the loader keeps what is read here."""
    from natsproof.contract.loader import standard_input

    capturing = config.pluginmanager.getplugin("capturemanager")
    capturing.suspend_global_capture(in_=True)
    try:
        standard_input()
    finally:
        capturing.resume_global_capture()


def load_contract(options: Options) -> Contract:
    from natsproof.contract.loader import load_all

    return load_all(options.manifests)


def _header(config: pytest.Config, options: Options, contract: Contract) -> dict[str, Any]:
    return {
        "natsproof": __version__,
        "commit": host.version()["commit"],
        "host": host.facts(),
        "seed": options.seed,
        "depth": options.depth,
        "cluster": options.cluster,
        "manifests": list(options.manifests),
        "contract_digest": contract.digest,
        "survives": list(contract.promises.survives),
        "image": contract.server_container.image,
        "rejudged": str(options.rejudge) if options.rejudge else "",
        "command": command_line(config),
    }


# -- clusters


def prepare_host(
    options: Options, contract: Contract, *, enter: bool
) -> tuple[Callable[[Path], Any], dict[str, Any]]:
    """How to open a cluster here, and facts for the header. Must run while there is one thread only.

    Binaries are resolved first: inside the universe there is no network. A host that cannot run the
    cluster is no error yet; claims decided from the manifests alone need none.
    """
    if options.rejudge or options.cluster == "none":

        def refuse(workdir: Path) -> Any:
            raise UsageError("this run has no cluster (--rejudge or --cluster none)")

        return refuse, {"isolation": "none"}
    try:
        binaries, facts = _resolve(options, contract)
        if options.cluster == "embedded" and not enter:
            from natsproof.cluster.embedded.universe import foreseen

            facts["isolation"] = foreseen().value  # each worker enters one of its own
        if options.cluster == "embedded" and enter:
            from natsproof.cluster.embedded import enter_universe

            universe = enter_universe()
            facts["isolation"] = universe.isolation.value
            if universe.why:
                facts["isolation_why"] = universe.why
    except (ClusterError, ImportError) as problem:
        trouble = str(problem)

        def fail(workdir: Path) -> Any:
            raise ClusterError(trouble)

        return fail, {"isolation": "none", "host_problem": trouble}
    return lambda workdir: _open_cluster(options, contract, workdir, binaries), facts


def _resolve(options: Options, contract: Contract) -> tuple[Any, dict[str, Any]]:
    if options.cluster != "embedded":
        return None, {"isolation": options.cluster}
    from natsproof.cluster.binaries import for_image

    binaries = for_image(
        contract.server_container.image, server=options.server_binary, cli=options.nats_binary
    )
    if not options.server_binary:  # who names a program has no others to fetch
        _fetch_next(contract)
    server, cli = binaries.server, binaries.cli
    return binaries, {
        "server": {"version": server.version, "origin": server.origin, "sha256": server.sha256},
        "cli": {"version": cli.version, "origin": cli.origin, "sha256": cli.sha256},
    }


def _fetch_next(contract: Contract) -> None:
    """What the image is upgraded to: later there is no network. Without it that claim is UNKNOWN."""
    from natsproof.cluster.binaries import nats_server
    from natsproof.faults.upgrade import next_release

    with contextlib.suppress(ClusterError, UsageError):
        nats_server(next_release(contract.server_container.image))


def _open_cluster(options: Options, contract: Contract, workdir: Path, binaries: Any) -> Any:
    """A cluster of the wanted kind that is not up yet; its files go to `workdir`."""
    if options.cluster == "embedded":
        from natsproof.cluster.embedded import embedded

        return embedded(contract, workdir, binaries=binaries)
    from natsproof.cluster.kubernetes import open_cluster

    return open_cluster(
        options.cluster,
        contract,
        workdir,
        storage_class=options.storage_class,
        images=options.images,
        keep=options.keep,
    )


def capabilities(open_cluster: Callable[[Path], Any]) -> Abilities:
    """Names of what clusters here can do. A host that cannot run one can do nothing."""
    import tempfile

    from natsproof.cluster import Abilities, abilities

    with tempfile.TemporaryDirectory(prefix="natsproof-") as folder:
        try:
            return abilities(open_cluster(Path(folder)))
        except NatsproofError:
            return Abilities()


# -- collection


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    claims = [item for item in items if is_claim(item)]
    if not claims:
        return
    if CERTIFICATION not in config.stash:
        if hasattr(config, "workerinput"):
            config.pluginmanager.register(misplaced.InWorker(config))
            return
        activate(config)
    for item in claims:
        item.stash[NODEID] = item.nodeid
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    """Claims of one file with one set of parameters judge the same trials: keep them on one worker."""
    callspec = getattr(item, "callspec", None)
    parts = f"{item.path}:{callspec.id if callspec else ''}"
    return hashlib.sha256(parts.encode()).hexdigest()[:6]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A claim with an argument `bucket` is made for every promised bucket."""
    if "bucket" not in metafunc.fixturenames or CERTIFICATION not in metafunc.config.stash:
        return
    marks = [m for m in metafunc.definition.iter_markers("parametrize") if "bucket" in str(m.args[0])]
    if not marks:
        buckets = metafunc.config.stash[CERTIFICATION].contract.promises.buckets
        metafunc.parametrize("bucket", buckets, ids=[b.name for b in buckets])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    certification = node.config.stash.get(CERTIFICATION, None)
    if certification is not None:
        node.workerinput["natsproof"] = {
            "folder": str(certification.folder.path),
            "seed": certification.options.seed,
        }


# -- fixtures


def _certification(request: pytest.FixtureRequest) -> Certification:
    return request.config.stash[CERTIFICATION]


@pytest.fixture(scope="session")
def contract(request: pytest.FixtureRequest) -> Contract:
    """The manifests under test."""
    if CERTIFICATION not in request.config.stash:
        return activate(request.config).contract
    return _certification(request).contract


@pytest.fixture
def certify(request: pytest.FixtureRequest) -> Certify:
    """Runs trials and demands verdicts; see natsproof.certify."""
    return _certification(request).fixture(request.node)


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A platform that is up, for this test alone (kind, context: the session's)."""
    certification = _certification(request)
    evidence = certification.folder.path / "attachments" / nodeid_of(request.node).replace("/", "-")
    with certification.session().cluster(evidence) as running:
        yield running


# -- outcomes


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> Any:
    said = dict(getattr(report, "user_properties", ())).get(PROPERTY)
    if said is None or (report.when == "teardown" and report.passed):
        return None
    if report.when == "teardown":
        return None
    return {
        "HOLDS": ("passed", ".", ("HOLDS", {"green": True})),
        "BROKEN": ("failed", "F", ("BROKEN", {"red": True})),
        "UNKNOWN": ("unknown", "U", ("UNKNOWN", {"yellow": True})),
        "NOT PROMISED": ("not promised", "s", ("NOT PROMISED", {"yellow": True})),
        "NOT TESTED": ("not tested", "s", ("NOT TESTED", {"yellow": True})),
    }.get(str(said))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    from natsproof.run_end import end_run

    certification = session.config.stash.get(CERTIFICATION, None)
    if certification is None:
        return
    certification.close()
    if hasattr(session.config, "workerinput") or session.config.getoption("collectonly"):
        return
    end_run(session, certification)


def pytest_report_header(config: pytest.Config) -> list[str]:
    from natsproof.terminal import header

    certification = config.stash.get(CERTIFICATION, None)
    return header(certification.facts) if certification else []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    from natsproof.terminal import summary

    certification = config.stash.get(CERTIFICATION, None)
    if certification is None or certification.run is None:
        return
    _tell_unknown(terminalreporter)
    for line, style in summary(certification.run, certification.folder.path, certification.end_notes):
        terminalreporter.write_line(line, **style)


def _tell_unknown(terminalreporter: Any) -> None:
    """What pytest shows of failures, for the first of the claims that were not decided."""
    reports = terminalreporter.stats.get("unknown", [])
    if reports:
        terminalreporter.write_sep("=", "NOT DECIDED")
    for report in reports[:MAX_UNKNOWN_SHOWN]:
        terminalreporter.write_sep("_", report.nodeid.rsplit("::", 1)[-1], yellow=True)
        report.toterminal(terminalreporter._tw)


def _end_on_sigterm(config: pytest.Config, certification: Certification) -> None:
    """SIGTERM ends a run as Ctrl-C does: faults are healed, the report says `interrupted`. So does SIGINT,
    also where a script's background began us deaf to it."""

    def handle(number: int, frame: object) -> None:
        certification.interrupted_by = signal.Signals(number).name
        signal.raise_signal(signal.SIGINT)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, handle)}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    config.add_cleanup(put_back)
