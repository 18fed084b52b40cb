"""The overlay of several aggregators: they share what they must, no drain ends both, and no upgrade waits for ever."""

import os
from typing import Any

import pytest

from services.projection.owner_lock import session_name
from tests.manifests import Manifest, rendered_here, the
from tests.test_deploy import DEPLOY, PORTS, REPLICAS, SERVERS

NAME = "app.kubernetes.io/name"


@pytest.fixture
def manifests() -> list[Manifest]:
    return rendered_here(DEPLOY / "k8s/overlays" / REPLICAS)


@pytest.fixture
def deployment(manifests: list[Manifest]) -> Manifest:
    return the(manifests, "Deployment", "aggregator")


def container_of(deployment: Manifest) -> Manifest:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "aggregator"
    return dict(container)


def test_there_are_two_and_the_other_services_stay_one_pod(manifests: list[Manifest], deployment: Manifest) -> None:
    assert deployment["spec"]["replicas"] == 2
    one_pod = the(manifests, "StatefulSet", "meterlog")["spec"]["template"]["spec"]["containers"]
    assert {container["name"] for container in one_pod} == PORTS.keys() - {"aggregator"}


def test_production_can_become_this_without_a_new_volume(manifests: list[Manifest]) -> None:
    """What a StatefulSet says of its selector and volumes can never be changed."""
    production = rendered_here(DEPLOY / "k8s/overlays/production")
    was, is_now = (the(each, "StatefulSet", "meterlog")["spec"] for each in (production, manifests))
    fixed = ("selector", "serviceName", "volumeClaimTemplates")
    assert [is_now[name] for name in fixed] == [was[name] for name in fixed]


def test_a_replica_without_the_servers_does_not_start_because_it_would_fold_a_log_of_its_own(
    deployment: Manifest,
) -> None:
    references = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in container_of(deployment)["env"]
        if entry["name"] in SERVERS
    }
    assert references == {name: {"name": "meterlog-stores", "key": name} for name in SERVERS}


def test_an_upgrade_ends_the_old_replicas_before_it_waits_for_the_new(deployment: Manifest) -> None:
    """A new one whose fold has another version is not ready before no old one folds."""
    strategy = deployment["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%", "maxSurge": 0}}


def test_a_drain_of_nodes_ends_one_replica_at_a_time(manifests: list[Manifest], deployment: Manifest) -> None:
    budget = the(manifests, "PodDisruptionBudget", "aggregator")["spec"]
    assert budget["maxUnavailable"] == 1 < deployment["spec"]["replicas"]
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budget["selector"] == deployment["spec"]["selector"]


def test_replicas_are_spread_but_run_on_one_node_when_there_is_no_other(deployment: Manifest) -> None:
    pod = deployment["spec"]["template"]["spec"]
    (apart,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    for chosen in (apart["podAffinityTerm"]["labelSelector"], spread["labelSelector"]):
        assert chosen == deployment["spec"]["selector"]


def test_nothing_that_lasts_is_kept_in_a_pod(manifests: list[Manifest], deployment: Manifest) -> None:
    assert all("emptyDir" in volume for volume in deployment["spec"]["template"]["spec"]["volumes"])
    archive = the(manifests, "ConfigMap", "meterlog-settings")["data"]["METERLOG_ARCHIVE_URL"]
    assert archive == "none" or archive.startswith(("s3://", "gs://"))


def test_rating_asks_the_service_that_leads_to_the_replicas(manifests: list[Manifest]) -> None:
    address = the(manifests, "ConfigMap", "meterlog-settings")["data"]["METERLOG_AGGREGATOR_ADDRESS"]
    assert address == f"aggregator:{PORTS['aggregator']}"


def test_a_leader_is_named_by_its_pod_so_that_kubectl_finds_it(
    deployment: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod_name = f"{deployment['metadata']['name']}-{'0' * 10}-{'0' * 5}"
    monkeypatch.setattr("socket.gethostname", lambda: pod_name)
    assert session_name().split() == ["meterlog", pod_name, str(os.getpid())]


def test_rating_may_call_the_replicas_and_all_may_call_the_servers(manifests: list[Manifest]) -> None:
    entering = the(manifests, "NetworkPolicy", "aggregator")["spec"]
    callers = [caller.get("podSelector", {}).get("matchLabels") for caller in entering["ingress"][0]["from"]]
    assert {NAME: "meterlog"} in callers
    assert {"meterlog.client": "true"} in callers
    leaving = the(manifests, "NetworkPolicy", "servers")["spec"]
    assert leaving["podSelector"]["matchExpressions"][0]["values"] == ["meterlog", "meterlog-aggregator"]
    assert {"protocol": "TCP", "port": PORTS["aggregator"]} in ports_of(leaving["egress"])
    assert {"protocol": "TCP", "port": 5432} in ports_of(leaving["egress"])


def ports_of(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [port for rule in rules for port in rule["ports"]]
