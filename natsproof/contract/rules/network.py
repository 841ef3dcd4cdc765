"""Names and services: servers find each other, clients find servers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from natsproof.contract.model import Container, Contract, Service, ServicePort
from natsproof.contract.rules.rule import Rule, at, judged, rule
from natsproof.verdict import Exhibit, Verdict, unknown

_ROUTE = re.compile(r"[\w+-]+://(?:[^@/]*@)?(?P<host>[^/:]+)(?::(?P<port>\d+))?/?")
_FORMING = "three servers form one cluster"
_CLIENTS = "clients reach the platform at one address"


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """A Service or budget with an empty selector selects nothing we know of."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def hosts_of_pods(contract: Contract) -> dict[str, str]:
    """Every DNS name of a server's pod (lower case, without cluster domain) and the pod's name."""
    names = {}
    for pod in contract.statefulset.pod_names():
        base = f"{pod}.{contract.statefulset.service_name}"
        for host in (base, f"{base}.{contract.namespace}", f"{base}.{contract.namespace}.svc"):
            names[host.lower()] = pod
    return names


def pod_of_host(host: str, contract: Contract) -> str | None:
    """The server that `host` names, or None. Any cluster domain after `.svc` is accepted."""
    plain = host.lower().rstrip(".")
    names = hosts_of_pods(contract)
    if plain in names:
        return names[plain]
    before, svc, domain = plain.partition(".svc.")
    return names.get(f"{before}.svc") if svc and domain else None


def listening_ports(contract: Contract) -> dict[int, str]:
    """The ports that nats.conf opens, and what for."""
    config = contract.config
    ports = {config.port or 4222: "client"}
    if config.cluster_port:
        ports[config.cluster_port] = "cluster"
    if config.http_port:
        ports[config.http_port] = "monitor"
    return ports


def resolve_port(port: int | str | None, container: Container) -> int | None:
    """A port number, or the container's port of that name; None where there is none."""
    if isinstance(port, int) or port is None:
        return port
    for one in container.ports:
        if one.name == port:
            return one.container_port
    return int(port) if port.isdigit() else None


def target_of(port: ServicePort, contract: Contract) -> int | None:
    """The number of the port of the pod that a Service port leads to; None where the name does not exist."""
    return resolve_port(
        port.port if port.target_port is None else port.target_port, contract.server_container
    )


@rule(_FORMING)
def the_governing_service_exists(contract: Contract) -> Verdict:
    """The Service named by serviceName is among the manifests, so each pod has a name of its own."""
    stateful = contract.statefulset
    wrong = []
    if contract.governing_service is None:
        names = ", ".join(s.name for s in contract.services if s.headless) or "none"
        wrong.append(
            at(
                stateful.at("service_name"),
                f"serviceName is {stateful.service_name!r} but no such Service is in namespace"
                f" {contract.namespace};"
                f" headless Services there: {names}. Name one of them or add it",
            )
        )
    return judged(wrong, f"Service {stateful.service_name} exists")


def _no_governing_service() -> Verdict:
    return unknown("there is no governing Service to judge: see the_governing_service_exists")


@rule(_FORMING)
def the_governing_service_is_headless(contract: Contract) -> Verdict:
    """The governing Service has clusterIP None: only then do the pods' own names exist in DNS."""
    service = contract.governing_service
    if service is None:
        return _no_governing_service()
    wrong = []
    if not service.headless:
        wrong.append(
            at(
                service.at("headless"),
                f"Service {service.name} governs the StatefulSet but has a cluster address, so names such as"
                f" {contract.statefulset.pod_names()[0]}.{service.name} do not exist. Set clusterIP: None",
            )
        )
    return judged(wrong, f"Service {service.name} is headless")


@rule(_FORMING)
def the_governing_service_publishes_unready_servers(contract: Contract) -> Verdict:
    """Servers find each other in DNS before any of them is Ready: publishNotReadyAddresses is true."""
    service = contract.governing_service
    if service is None:
        return _no_governing_service()
    wrong = []
    if not service.publish_not_ready:
        wrong.append(
            at(
                service.at("publish_not_ready"),
                f"Service {service.name} hides pods that are not Ready; a server is Ready only after it"
                " found the"
                " others. Set publishNotReadyAddresses: true",
            )
        )
    return judged(wrong, f"Service {service.name} publishes pods that are not Ready")


@rule(_FORMING)
def the_governing_service_selects_the_servers(contract: Contract) -> Verdict:
    """The governing Service's selector matches the labels of the servers' pods."""
    service = contract.governing_service
    if service is None:
        return _no_governing_service()
    return judged(_selection(service, contract), f"Service {service.name} selects the servers")


def _selection(service: Service, contract: Contract) -> list[Exhibit]:
    labels = contract.statefulset.template.labels
    if selects(service.selector, labels):
        return []
    text = (
        f"Service {service.name} selects {dict(service.selector)}, the servers' pods are labelled"
        f" {dict(labels)}:"
        " it has no endpoints. Use a label of the pods"
    )
    return [at(service.at("selector"), text)]


@rule(_FORMING)
def every_route_names_a_server(contract: Contract) -> Verdict:
    """Every route in nats.conf is the DNS name of a pod of this StatefulSet, with the cluster's port."""
    known = hosts_of_pods(contract)
    example = sorted(known, key=len)[-1] if known else ""
    wrong = []
    for index, route in enumerate(contract.config.routes):
        match = _ROUTE.fullmatch(route)
        if match is None or pod_of_host(match["host"], contract) is None:
            why = (
                f"route {route!r} names no pod of StatefulSet {contract.statefulset.name}: expected like"
                f" {example}"
            )
        elif int(match["port"] or 6222) != contract.config.cluster_port:
            why = (
                f"route {route!r} leads to port {match['port']}, servers listen on"
                f" {contract.config.cluster_port}"
            )
        else:
            continue
        wrong.append(at(contract.config.at(f"cluster.routes.{index}"), why))
    return judged(
        wrong,
        f"{len(contract.config.routes)} routes name pods of the set",
        routes=len(contract.config.routes),
    )


@rule(_FORMING)
def every_server_has_a_route(contract: Contract) -> Verdict:
    """Each replica is named by exactly one route: a first boot waits for as many peers as routes."""
    counted = Counter(
        pod_of_host(match["host"], contract) for r in contract.config.routes if (match := _ROUTE.fullmatch(r))
    )
    place = contract.config.at("cluster.routes")
    wrong = [
        at(
            place,
            f"{pod} of {contract.statefulset.replicas} replicas has {counted[pod]} routes, expected one."
            " Edit routes",
        )
        for pod in contract.statefulset.pod_names()
        if counted[pod] != 1
    ]
    return judged(wrong, f"each of {contract.statefulset.replicas} servers has one route")


@rule(_CLIENTS)
def a_service_for_clients_selects_the_servers(contract: Contract) -> Verdict:
    """Besides the governing Service there is one for clients that selects the servers' pods."""
    service = contract.client_service
    if service is not None and service is not contract.governing_service:
        return judged([], f"Service {service.name} selects the servers")
    others = [s for s in contract.services if s is not contract.governing_service]
    if others:
        text = f"Service {others[0].name} selects {dict(others[0].selector)}"
        place = others[0].at("selector")
    else:
        text, place = "there is no Service besides the governing one", contract.statefulset.place
    labels = dict(contract.statefulset.template.labels)
    text += f": clients reach no server. Add a Service with a cluster address that selects {labels}"
    return judged([at(place, text)], "")


@rule(_CLIENTS)
def the_client_service_has_an_address_of_its_own(contract: Contract) -> Verdict:
    """The Service for clients has one stable cluster address and is not the governing Service."""
    service = contract.client_service
    if service is None or service is contract.governing_service:
        return unknown("there is no client Service: see a_service_for_clients_selects_the_servers")
    wrong = []
    if service.headless:
        text = f"Service {service.name} is headless: clients get addresses of pods, which change"
        wrong.append(at(service.at("headless"), f"{text}. Remove clusterIP: None"))
    return judged(wrong, f"Service {service.name} has a cluster address")


@rule(_CLIENTS)
def every_service_port_leads_to_a_listener(contract: Contract) -> Verdict:
    """Each port of each Service of the servers leads to a port that nats.conf opens."""
    listening = listening_ports(contract)
    wrong = []
    checked = 0
    for service in contract.services:
        if not selects(service.selector, contract.statefulset.template.labels):
            continue
        for port in service.ports:
            checked += 1
            target = target_of(port, contract)
            if target not in listening:
                wrong.append(
                    at(
                        port.at("target_port"),
                        f"port {port.port} of Service {service.name} leads to"
                        f" {port.target_port or port.port},"
                        f" the server listens on {sorted(listening)}. Use one of these or a container"
                        " port's name",
                    )
                )
    return judged(wrong, f"{checked} Service ports lead to listeners", ports=checked)


@rule(_CLIENTS)
def the_client_service_offers_the_client_port(contract: Contract) -> Verdict:
    """The Service for clients offers the server's client port under the same number."""
    service = contract.client_service
    if service is None:
        return unknown("there is no client Service: see a_service_for_clients_selects_the_servers")
    client = contract.config.port or 4222
    wrong = []
    if not any(port.port == client for port in service.ports):
        offered = [port.port for port in service.ports]
        wrong.append(
            at(service.at("ports"), f"Service {service.name} offers {offered}, clients expect {client}")
        )
    return judged(wrong, f"Service {service.name} offers {client}")


@rule(_CLIENTS)
def no_service_leads_to_the_job(contract: Contract) -> Verdict:
    """No Service selects the set-up Job's pod: a client must never be sent there."""
    if contract.job is None:
        return unknown("there is no set-up Job")
    labels = contract.job.template.labels
    wrong = [
        at(
            s.at("selector"),
            f"Service {s.name} selects the Job's pods too: {dict(s.selector)}. Give the Job its own label",
        )
        for s in contract.services
        if selects(s.selector, labels)
    ]
    return judged(wrong, "no Service selects the Job's pod")


@rule(_CLIENTS)
def addresses_of_pods_are_not_advertised(contract: Contract) -> Verdict:
    """no_advertise is true: clients keep to the Service's name instead of collecting addresses that die with
    pods."""
    wrong = []
    if not contract.config.no_advertise:
        place = contract.config.at("cluster.no_advertise")
        wrong.append(
            at(place, "cluster.no_advertise is not true: clients learn pod addresses. Set no_advertise: true")
        )
    return judged(wrong, "no_advertise is true")


RULES: tuple[Rule, ...] = (
    the_governing_service_exists,
    the_governing_service_is_headless,
    the_governing_service_publishes_unready_servers,
    the_governing_service_selects_the_servers,
    every_route_names_a_server,
    every_server_has_a_route,
    a_service_for_clients_selects_the_servers,
    the_client_service_has_an_address_of_its_own,
    every_service_port_leads_to_a_listener,
    the_client_service_offers_the_client_port,
    no_service_leads_to_the_job,
    addresses_of_pods_are_not_advertised,
)
