"""The manifests of a kustomization, rendered here, and what is in them: for tests without a cluster."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


def applied_patch(manifest: Manifest, operations: list[Manifest]) -> None:
    """JSON Patch (RFC 6902), operations on what is there: enough for our overlays."""
    for operation in operations:
        *parents, last = operation["path"].strip("/").split("/")
        place: Any = manifest
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        end: Any = int(last) if isinstance(place, list) else last
        assert end in (range(len(place)) if isinstance(place, list) else place), f"{operation['path']} is not there"
        if operation["op"] == "replace":
            place[end] = operation["value"]
        elif operation["op"] == "remove":
            del place[end]
        else:
            assert operation["op"] == "test", "teach this renderer the operation, or do without"
            assert place[end] == operation["value"], operation["path"]


def merged(manifest: Manifest, change: Manifest) -> None:
    """A strategic merge of maps; lists are not merged here, and not needed."""
    for key, value in change.items():
        if isinstance(value, dict):
            merged(manifest.setdefault(key, {}), value)
        else:
            assert not isinstance(value, list), "patch lists with JSON Patch"
            manifest[key] = value


def rendered_here(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` prints, for the part of kustomize that our files use; anything else is refused."""
    kustomization = documents(folder / "kustomization.yaml")[0]
    assert kustomization.keys() <= {"apiVersion", "kind", "resources", "patches", "images"}
    manifests = [manifest for name in kustomization["resources"] for manifest in resources(folder / name)]
    for patch in kustomization.get("patches", []):
        patched(manifests, folder, patch)
    for image in kustomization.get("images", []):
        renamed(manifests, image)
    return manifests


def resources(path: Path) -> list[Manifest]:
    return rendered_here(path.resolve()) if path.is_dir() else documents(path)


def patched(manifests: list[Manifest], folder: Path, patch: Manifest) -> None:
    if "path" in patch:
        change = documents(folder / patch["path"])[0]
        merged(the(manifests, change["kind"], change["metadata"]["name"]), change)
    else:
        target = the(manifests, patch["target"]["kind"], patch["target"]["name"])
        applied_patch(target, yaml.safe_load(patch["patch"]))


def renamed(manifests: list[Manifest], image: Manifest) -> None:
    for container in containers(manifests):
        name, _, tag = container["image"].rpartition(":")
        if name == image["name"]:
            container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"


def documents(path: Path) -> list[Manifest]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


def in_order(value: Any) -> Any:
    """The value with every map in key order."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value


def the(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one object of that kind and name."""
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    """What starts pods."""
    return [manifest for manifest in manifests if manifest["kind"] in ("StatefulSet", "Deployment")]


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """The template of each pod."""
    return [workload["spec"]["template"] for workload in workloads(manifests)]


def pod_specs(manifests: list[Manifest]) -> list[Manifest]:
    return [pod["spec"] for pod in pods(manifests)]


def containers(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Those of all pods; there are some."""
    found = [container for pod in pod_specs(manifests) for container in pod["containers"]]
    assert found
    return iter(found)
