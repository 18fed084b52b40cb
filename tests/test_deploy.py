"""The manifests are valid, restricted, and fit each other. Checked without a cluster: none was there to try them on."""

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.manifests import Manifest, containers, documents, in_order, pod_specs, pods, rendered_here, the, workloads

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
OVERLAYS = ("dev", "production", "production-replicas")
REPLICAS = "production-replicas"
KUBERNETES_VERSIONS = ("1.32", "1.34", "1.37")
PORTS = {"ingest": 7401, "aggregator": 7402, "rating": 7403, "notifier": 7404}

SERVERS = {"METERLOG_STORE_URL", "METERLOG_DATABASE_URL"}


def rendered_by_kubectl(folder: Path) -> list[Manifest]:
    """What a real kubectl makes of the folder."""
    command = ["kubectl", "kustomize", str(folder)]
    return list(yaml.safe_load_all(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout))


RENDERERS = [rendered_here, *([rendered_by_kubectl] if shutil.which("kubectl") else [])]


RENDERINGS = [
    pytest.param((renderer, overlay), id=f"{overlay}-{renderer.__name__}")
    for renderer in RENDERERS
    for overlay in OVERLAYS
]


@pytest.fixture(params=RENDERINGS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """The manifests of one overlay, as each renderer that this machine has makes them."""
    renderer, overlay = request.param
    rendered: list[Manifest] = renderer(DEPLOY / "k8s/overlays" / overlay)
    return rendered


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_renderer_makes_the_same(overlay: str) -> None:
    folder = DEPLOY / "k8s/overlays" / overlay
    first, *others = [sorted(map(str, map(in_order, renderer(folder)))) for renderer in RENDERERS]
    assert len(first) > 0
    assert all(other == first for other in others)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_are_what_kubernetes_expects(overlay: str, version: str) -> None:
    for manifest in rendered_here(DEPLOY / "k8s/overlays" / overlay):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_every_object_says_its_namespace(manifests: list[Manifest]) -> None:
    spaces = {manifest["metadata"].get("namespace") for manifest in manifests if manifest["kind"] != "Namespace"}
    assert spaces == {the(manifests, "Namespace", "meterlog")["metadata"]["name"]}


def test_the_namespace_is_restricted(manifests: list[Manifest]) -> None:
    labels = the(manifests, "Namespace", "meterlog")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_pod_runs_as_nobody_and_without_a_token(manifests: list[Manifest]) -> None:
    for pod in pod_specs(manifests):
        assert pod["automountServiceAccountToken"] is False
        assert the(manifests, "ServiceAccount", pod["serviceAccountName"])["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 10_000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_cluster_adds_no_settings_of_its_own(manifests: list[Manifest]) -> None:
    assert all(pod["enableServiceLinks"] is False for pod in pod_specs(manifests))


def test_a_container_can_change_nothing_but_its_folder(manifests: list[Manifest]) -> None:
    for container in containers(manifests):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/var/lib/meterlog", "/tmp"}


def test_an_image_has_a_version(manifests: list[Manifest]) -> None:
    (image,) = {container["image"] for container in containers(manifests)}
    assert re.fullmatch(r"\d+\.\d+\.\d+", image.rpartition(":")[2]), image


def test_a_container_has_bounds(manifests: list[Manifest]) -> None:
    for container in containers(manifests):
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


def test_each_service_is_probed_over_grpc_on_its_own_port(manifests: list[Manifest]) -> None:
    for container in containers(manifests):
        port = PORTS[container["name"]]
        assert container["args"] == [f"services.{container['name']}"]
        assert {"name": "METERLOG_LISTEN", "value": f"0.0.0.0:{port}"} in container["env"]
        assert container["readinessProbe"]["grpc"] == {"port": port}
        assert container["livenessProbe"]["grpc"] == {"port": port, "service": "live"}
        assert container["startupProbe"]["grpc"] == {"port": port, "service": "live"}


def test_a_secret_reaches_only_who_needs_it(manifests: list[Manifest]) -> None:
    secrets = {
        container["name"]: {entry["name"] for entry in container["env"] if "valueFrom" in entry} - SERVERS
        for container in containers(manifests)
    }
    assert secrets == {
        "ingest": {"METERLOG_API_KEYS"},
        "aggregator": {"METERLOG_API_KEYS"},
        "rating": {"METERLOG_API_KEYS", "METERLOG_API_KEY"},
        "notifier": {"METERLOG_API_KEYS", "METERLOG_WEBHOOK_MASTER_KEY"},
    }


def test_a_secret_that_is_asked_for_is_there_in_dev() -> None:
    dev = rendered_here(DEPLOY / "k8s/overlays/dev")
    references = [
        entry["valueFrom"]["secretKeyRef"] for c in containers(dev) for entry in c["env"] if "valueFrom" in entry
    ]
    assert {reference["name"] for reference in references} == {"meterlog-keys"}
    assert {reference["key"] for reference in references} == the(dev, "Secret", "meterlog-keys")["stringData"].keys()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_urls_of_servers_come_from_a_secret_that_need_not_be_there_for_one_pod(overlay: str) -> None:
    manifests = rendered_here(DEPLOY / "k8s/overlays" / overlay)
    (pod,) = [found["spec"]["template"]["spec"] for found in manifests if found["kind"] == "StatefulSet"]
    for container in pod["containers"]:
        *_, last = container["envFrom"]  # of two sources the later one wins
        assert last == {"secretRef": {"name": "meterlog-stores", "optional": overlay != REPLICAS}}
        assert not SERVERS & {entry["name"] for entry in container["env"]}


def test_a_drain_ends_before_the_pod_is_killed(manifests: list[Manifest]) -> None:
    drain_s = int(the(manifests, "ConfigMap", "meterlog-settings")["data"]["METERLOG_DRAIN_S"])
    for pod in pod_specs(manifests):
        for container in pod["containers"]:
            before_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert before_s + drain_s + 10 <= pod["terminationGracePeriodSeconds"]


def test_one_pod_shares_one_log(manifests: list[Manifest]) -> None:
    stateful_set = the(manifests, "StatefulSet", "meterlog")
    assert stateful_set["spec"]["replicas"] == 1
    assert sorted(container["name"] for container in containers(manifests)) == sorted(PORTS)
    assert stateful_set["spec"]["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert stateful_set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"


@pytest.mark.parametrize("service", PORTS)
def test_a_service_leads_to_its_container(manifests: list[Manifest], service: str) -> None:
    spec = the(manifests, "Service", service)["spec"]
    (pod,) = [pod for pod in pods(manifests) if spec["selector"].items() <= pod["metadata"]["labels"].items()]
    assert service in {container["name"] for container in pod["spec"]["containers"]}
    assert [(port["port"], port["targetPort"]) for port in spec["ports"]] == [(PORTS[service], service)]


def test_no_pod_is_chosen_by_the_selector_of_another(manifests: list[Manifest]) -> None:
    for found in workloads(manifests):
        selector = found["spec"]["selector"]["matchLabels"]
        assert [selector.items() <= pod["metadata"]["labels"].items() for pod in pods(manifests)].count(True) == 1


def test_every_port_of_the_pods_own_name_is_there(manifests: list[Manifest]) -> None:
    (pod,) = [found["spec"]["template"]["spec"] for found in manifests if found["kind"] == "StatefulSet"]
    listening = {container["name"] for container in pod["containers"]}
    assert {port["name"] for port in the(manifests, "Service", "meterlog")["spec"]["ports"]} == listening


def test_secrets_are_in_the_dev_overlay_only() -> None:
    kinds = {overlay: {m["kind"] for m in rendered_here(DEPLOY / "k8s/overlays" / overlay)} for overlay in OVERLAYS}
    assert [overlay for overlay, found in kinds.items() if "Secret" in found] == ["dev"]


@pytest.mark.parametrize("overlay", ["production", REPLICAS])
def test_production_time_is_real(overlay: str) -> None:
    settings = the(rendered_here(DEPLOY / "k8s/overlays" / overlay), "ConfigMap", "meterlog-settings")["data"]
    assert settings["METERLOG_CLOCK"] == "system"


def test_compose_runs_the_same_four_restricted() -> None:
    services = documents(DEPLOY / "compose.yaml")[0]["services"]
    assert list(services) == list(PORTS)
    for name, service in services.items():
        assert service["command"] == [f"services.{name}"]
        assert service["ports"] == [f"127.0.0.1:{PORTS[name]}:{PORTS[name]}"]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"] == ["var:/var/lib/meterlog"]


def test_the_image_runs_as_nobody_and_pins_what_it_installs() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert "USER 65532:65532" in dockerfile
    assert "--require-hashes" in dockerfile
    assert all(":" in image for image in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    assert ":latest" not in dockerfile


def test_the_image_installs_what_was_tested() -> None:
    everything, image = pins(ROOT / "requirements.lock"), pins(DEPLOY / "requirements.lock")
    assert len(image) > 10
    assert image.items() <= everything.items()


def pins(path: Path) -> dict[str, str]:
    """Each pinned package of a lock with its version, marker and hashes, as one text."""
    blocks = re.split(r"^(?=\S)", path.read_text(), flags=re.MULTILINE)
    return {block.split("==")[0]: block for block in blocks if "==" in block}
