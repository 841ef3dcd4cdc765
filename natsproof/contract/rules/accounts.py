"""Accounts and privileges: clients get JetStream, operators the system account, nobody more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from natsproof.contract.model import Contract
from natsproof.contract.rules.pinning import containers_of
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.verdict import Verdict, unknown

_ON = (True, "enabled", "enable")


def _accounts(contract: Contract) -> Mapping[str, Mapping[str, Any]]:
    found = contract.config.tree.get("accounts") or {}
    return (
        {name: body for name, body in found.items() if isinstance(body, Mapping)}
        if isinstance(found, Mapping)
        else {}
    )


def _users(contract: Contract) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(account, user) of nats.conf."""
    for name, body in _accounts(contract).items():
        for user in body.get("users") or ():
            if isinstance(user, Mapping):
                yield name, user


def _account_of_clients(contract: Contract) -> str | None:
    """The account of a client without credentials; "$G" where there are no accounts, None if it is
    refused."""
    if not any(True for _ in _users(contract)):
        return "$G"
    name = contract.config.tree.get("no_auth_user")
    return next((account for account, user in _users(contract) if user.get("user") == name), None)


@rule("the readme's clients bring no credentials")
def a_client_without_credentials_gets_jetstream(contract: Contract) -> Verdict:
    """Who connects without credentials is in an account that has JetStream."""
    account = _account_of_clients(contract)
    body = _accounts(contract).get(account or "", {})
    wrong = []
    if account is None:
        found = contract.config.tree.get("no_auth_user")
        text = f"no_auth_user is {found!r}, no user of an account: clients are refused. Name one"
        wrong.append(at(contract.config.at("no_auth_user"), text))
    elif account != "$G" and not (body.get("jetstream") in _ON or isinstance(body.get("jetstream"), Mapping)):
        text = f"account {account} of clients without credentials has no JetStream. Set jetstream: enabled"
        wrong.append(at(contract.config.at(f"accounts.{account}"), text))
    return judged(wrong, f"clients without credentials are in account {account}")


@rule("the runbook's scaling down works")
def the_system_account_has_a_user(contract: Contract) -> Verdict:
    """A user can log in to the system account: else there is no peer-remove and no step-down."""
    name = contract.config.tree.get("system_account", "$SYS")
    wrong = []
    if not any(account == name for account, _ in _users(contract)):
        text = f"system account {name} has no user: peer-remove after scaling down is impossible. Add one"
        wrong.append(at(contract.config.at("system_account"), text))
    return judged(wrong, f"system account {name} has a user")


@rule("nobody steers the cluster by accident")
def the_system_account_is_closed(contract: Contract) -> Verdict:
    """The system account needs a password that is not written in the ConfigMap, and is not that of unknown
    clients."""
    name = contract.config.tree.get("system_account", "$SYS")
    users = [user for account, user in _users(contract) if account == name]
    if not users:
        return unknown("the system account has no user: see the_system_account_has_a_user")
    wrong = []
    if _account_of_clients(contract) == name:
        text = (
            f"no_auth_user is a user of system account {name}: every client steers the cluster. Use another"
        )
        wrong.append(at(contract.config.at("no_auth_user"), text))
    lines = contract.config_map.data
    for user in users:
        secret = str(user.get("password") or "")
        if "nkey" not in user and (not secret or any(secret in text for text in lines.values())):
            text = (
                f"the password of system user {user.get('user')!r} is in the ConfigMap. Take it from a"
                " Secret by $VAR"
            )
            wrong.append(at(contract.config.at(f"accounts.{name}.users"), text))
    return judged(wrong, f"system account {name} is closed")


@rule("a broken-in container stays a container")
def no_container_runs_as_root(contract: Contract) -> Verdict:
    """Every container runs as another user than root, cannot gain privileges and has no capabilities."""
    wrong = []
    pods = [contract.statefulset.template] + ([contract.job.template] if contract.job else [])
    of_pod = {id(c): p.security_context for p in pods for c in (*p.init_containers, *p.containers)}
    for container in containers_of(contract):
        context = {**of_pod.get(id(container), {}), **container.security_context}
        drop = (context.get("capabilities") or {}).get("drop") or []
        missing = [
            text
            for text, there in (
                ("runAsNonRoot: true", context.get("runAsNonRoot") is True),
                ("allowPrivilegeEscalation: false", context.get("allowPrivilegeEscalation") is False),
                ('capabilities.drop: ["ALL"]', "ALL" in drop),
            )
            if not there
        ]
        if missing:
            place = container.at("security_context")
            wrong.append(
                at(place, f"container {container.name} lacks {', '.join(missing)}; the namespace asks for it")
            )
    return judged(wrong, "no container runs as root")


@rule("a broken-in container stays a container")
def no_pod_carries_a_kubernetes_token(contract: Contract) -> Verdict:
    """automountServiceAccountToken is false: neither servers nor the Job talk to Kubernetes."""
    pods = [contract.statefulset.template] + ([contract.job.template] if contract.job else [])
    wrong = [
        at(
            pod.at("automount_token"),
            "the pod carries a token for Kubernetes. Set automountServiceAccountToken: false",
        )
        for pod in pods
        if pod.automount_token is not False
    ]
    return judged(wrong, "no pod carries a token")


RULES: tuple[Rule, ...] = (
    a_client_without_credentials_gets_jetstream,
    the_system_account_has_a_user,
    the_system_account_is_closed,
    no_container_runs_as_root,
    no_pod_carries_a_kubernetes_token,
)
