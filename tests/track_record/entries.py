"""The defects: what was published, on which versions, and what here finds it again."""

from __future__ import annotations

from dataclasses import dataclass

from tests.mutants.catalogue.contract import FLAPPING_PROMISED
from tests.mutants.catalogue.expiry import LEAVES_MARKERS
from tests.mutants.manifests import Edit

IMAGE = "image: nats:2.12.8-alpine"
#: A server whose volume was full has JetStream disabled until its liveness probe restarts it: here sooner.
SOON_RESTARTED = Edit("statefulset.yaml", "            periodSeconds: 30\n", "            periodSeconds: 3\n")
DEFAULT_SYNC = Edit("configmap.yaml", "      sync_interval: always\n", "")


@dataclass(frozen=True)
class Entry:
    """`claim` is a test of suites/ (with its parameters), or `scene` a function of tests.track_record.scenes
    that returns a verdict by the suites' checkers. `version` is the nats-server that is run. `tries` seeds
    are tried until one is BROKEN. `tried` says what did not reproduce it, where nothing does."""

    issue: str
    what: str
    affected: str
    version: str
    claim: str = ""
    scene: str = ""
    edits: tuple[Edit, ...] = ()
    tries: int = 3
    within_s: int = 240
    tried: str = ""

    @property
    def command(self) -> str:
        return f"make track-record ISSUE={self.issue}"

    @property
    def found_by(self) -> str:
        return self.claim.partition("::")[2].partition("[")[0] if self.claim else f"scene {self.scene}"

    def all_edits(self) -> tuple[Edit, ...]:
        """Those of the manifests, the server's version among them."""
        if f"nats:{self.version}-" in IMAGE:
            return self.edits
        version = Edit("statefulset.yaml", IMAGE, IMAGE.replace("2.12.8", self.version))
        return (*self.edits, version)


ENTRIES = (
    Entry(
        "7564",
        "acknowledged writes are lost by a power cut of all servers under the default sync_interval",
        "all, by default; open",
        "2.12.8",
        scene="power_cut",
        edits=(DEFAULT_SYNC,),
    ),
    Entry(
        "7549",
        "bits flipped in the message blocks of one replica: acknowledged writes are gone when it leads",
        "2.12.1; open",
        "2.14.5",
        scene="flipped_bits",
    ),
    Entry(
        "7567",
        "one power cut and two pauses: a majority of a stale and an emptied server loses acknowledged writes",
        "2.12.1; open",
        "2.12.8",
        scene="starved_minority",
        edits=(DEFAULT_SYNC,),
    ),
    Entry(
        "7561",
        "a meta leader that hears nobody removes the other servers from the cluster, without a vote",
        "2.12.1; mended in 2.12.3. A cause of #7545, whose lost writes were not seen here",
        "2.12.1",
        scene="removed_by_a_minority",
    ),
    Entry(
        "6888",
        "streams vanish after several kill -9",
        "2.10.20 to 2.10.22",
        "2.10.22",
        scene="kill_storm",
    ),
    Entry(
        "7556",
        "a damaged meta snapshot on a minority: streams are taken for orphans and deleted",
        "2.12.1; open",
        "2.12.8",
        scene="damaged_snapshot",
    ),
    Entry(
        "5382",
        "a restart with a full volume: recovered streams are taken for orphans and deleted",
        "2.9.20; closed as stale",
        "2.12.8",
        scene="full_volumes",
        edits=(SOON_RESTARTED,),
        tries=2,
    ),
    Entry(
        "6920",
        "per-key TTL is not applied after markers were enabled on an existing bucket",
        "2.11.3",
        "2.11.3",
        scene="ttl_enabled_later",
        tries=2,
    ),
    Entry(
        "6712",
        "create fails after a key expired and left a marker",
        "client: nats-py 2.16.0",
        "2.12.8",
        scene="create_after_expiry",
        tries=1,
    ),
    Entry(
        "nats.py-966",
        "a watch shows an expiry as a put of nothing",
        "client: nats-py before PR #911",
        "2.12.8",
        scene="watched_expiry",
        tries=1,
    ),
    Entry(
        "finding-39",
        "a put that waited in a silent route is stored again, over later ones, by a leader that led before",
        "2.12.8, 2.14.5",
        "2.14.5",
        claim="suites/test_adversary.py::test_an_acknowledged_put_survives_the_return_of_a_leader",
        edits=FLAPPING_PROMISED,
        tries=2,
    ),
    Entry(
        "finding-58",
        "a restore that was given up deletes, 5 s after it began, the next stream of that name",
        "2.12.8, 2.14.5",
        "2.14.5",
        scene="given_up_restore",
        tries=1,
    ),
    Entry(
        "finding-61",
        "in buckets with markers: that of an expired value removes the acknowledged put after it",
        "2.11.3 to 2.14.5",
        "2.14.5",
        claim="suites/test_expiry.py::test_a_value_written_as_its_key_expires_is_kept"
        "[values-written-as-they-expire]",
        edits=LEAVES_MARKERS,
        tries=2,
    ),
)
