"""All that the manifests alone decide: `RULES`, each a claim with a pure check. See rule.py for the parts of
one."""

from __future__ import annotations

from natsproof.contract.rules import (
    accounts,
    boot,
    buckets,
    durability,
    environment,
    job,
    memory,
    network,
    pinning,
    placement,
    policy,
    probes,
    promises,
    shutdown,
    storage,
)
from natsproof.contract.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    *network.RULES,
    *policy.RULES,
    *boot.RULES,
    *probes.RULES,
    *shutdown.RULES,
    *storage.RULES,
    *memory.RULES,
    *buckets.RULES,
    *placement.RULES,
    *pinning.RULES,
    *job.RULES,
    *environment.RULES,
    *durability.RULES,
    *promises.RULES,
    *accounts.RULES,
)

__all__ = ["RULES", "Rule", "rule_named"]


def rule_named(name: str) -> Rule:
    """The rule whose claim is `name`; KeyError lists the known names."""
    for rule in RULES:
        if rule.name == name:
            return rule
    raise KeyError(f"no rule is named {name!r}; known: {', '.join(rule.name for rule in RULES)}")
