"""Durability: the setting that decides what a power cut takes."""

from __future__ import annotations

from natsproof.contract.model import Contract
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.verdict import Verdict

POWER_LOSS = frozenset({"power-loss-one", "power-loss-all"})


@rule("an acknowledged write survives what the promises name")
def an_acknowledged_write_is_on_disk_if_power_loss_is_promised(contract: Contract) -> Verdict:
    """If a power loss is promised to be survived, the server syncs before it acknowledges: sync_interval is
    always."""
    config = contract.config
    promised = sorted(POWER_LOSS & set(contract.promises.survives))
    wrong = []
    if promised and not config.sync_always:
        found = f"{config.sync_interval_s or 120:g} s"
        wrong.append(
            at(
                config.at("jetstream.sync_interval"),
                f"sync_interval is {found}, but {', '.join(promised)} is promised"
                f" ({contract.promises.at('survives')}):"
                " a power cut takes what was acknowledged since. Set sync_interval: always, or promise less",
            )
        )
    kept = (
        f"sync_interval always keeps {', '.join(promised)}"
        if promised
        else "no survival of a power loss is promised"
    )
    return judged(wrong, kept)


RULES: tuple[Rule, ...] = (an_acknowledged_write_is_on_disk_if_power_loss_is_promised,)
