"""Manifests under two checks: schemas that ship with packages, and rules that no schema can express.

`kubernetes-validate` carries the JSON schemas of Kubernetes' own objects, `check-jsonschema` that of the compose
specification. A schema knows which fields exist and what type each has. It looks at one object at a time, so it
cannot see that a service selects no pod: the rules in :func:`contradictions` do.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).with_name("deploy")
KUBERNETES = "1.36"
"""The version whose schemas are asked; a minor version is supported for about a year."""

Manifest = dict[str, Any]


def read(folder: Path = DEPLOY / "kubernetes") -> list[Manifest]:
    """All manifests of a folder, by file name; a file may hold several, divided by `---`."""
    found = []
    for path in sorted(folder.glob("*.yaml")):
        found += [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
    return found


def schema_errors(manifests: Sequence[Manifest]) -> list[str]:
    """What Kubernetes' schemas say of each manifest, unknown fields included. Empty where all is well."""
    import kubernetes_validate

    found = []
    for manifest in manifests:
        name = f"{manifest.get('kind')} {manifest.get('metadata', {}).get('name')}"
        try:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            found.append(f"{name}: {error}")
    return found


def compose_errors(compose: Manifest) -> list[str]:
    """What the compose specification's schema says of a compose file."""
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in _compose().iter_errors(compose)]


@cache
def _compose() -> Any:
    import jsonschema
    from check_jsonschema.builtin_schemas import get_builtin_schema

    return jsonschema.Draft202012Validator(get_builtin_schema("vendor.compose-spec"))


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a selector finds an object with these labels: it has each pair of the selector, and perhaps more."""
    return bool(selector) and selector.items() <= labels.items()


def contradictions(manifests: Sequence[Manifest]) -> list[str]:
    """What is wrong between fields and between objects, each of which is valid by itself."""
    found = []
    deployments = [m for m in manifests if m["kind"] == "Deployment"]
    for deployment in deployments:
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        labels, pod = spec["template"]["metadata"].get("labels", {}), spec["template"]["spec"]
        if not selects(spec["selector"]["matchLabels"], labels):
            found.append(f"Deployment {name} does not select the pods of its own template")
        found += [f"Deployment {name}: {problem}" for problem in _container_problems(pod)]
        strategy = spec.get("strategy", {}).get("rollingUpdate", {})
        if spec.get("replicas", 1) == 1 and strategy.get("maxUnavailable", "25%") not in (0, "0%", "25%"):
            found.append(f"Deployment {name}: its only pod may be taken away during an update")
    for service in (m for m in manifests if m["kind"] == "Service"):
        found += _service_problems(service, deployments)
    for scaler in (m for m in manifests if m["kind"] == "HorizontalPodAutoscaler"):
        found += _scaler_problems(scaler, deployments)
    return found


def _container_problems(pod: Manifest) -> list[str]:
    found, grace = [], pod.get("terminationGracePeriodSeconds", 30)
    for container in pod["containers"]:
        ports = {port.get("name") for port in container.get("ports", [])}
        ports |= {port["containerPort"] for port in container.get("ports", [])}
        probes = {kind: container.get(f"{kind}Probe") for kind in ("startup", "readiness", "liveness")}
        if not probes["readiness"]:
            found.append("without a readiness probe, requests come before the model is loaded")
        for kind, probe in probes.items():
            if probe and probe.get("httpGet", {}).get("port") not in ports:
                found.append(f"the {kind} probe asks a port that the container does not have")
        resources = container.get("resources", {})
        asked, limit = (resources.get(key, {}).get("memory", "") for key in ("requests", "limits"))
        if asked and limit and quantity(asked) > quantity(limit):
            found.append("it asks for more memory than its limit")
        wait = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if wait >= grace:
            found.append(
                f"preStop sleeps {wait} s of {grace} s of grace: SIGKILL comes before SIGTERM has worked"
            )
        if re.search(r":latest$|^[^:@]+$", container["image"]):
            found.append("the image has no version: two nodes may run two programs")
    return found


def _service_problems(service: Manifest, deployments: Sequence[Manifest]) -> list[str]:
    name, spec, found = service["metadata"]["name"], service["spec"], []
    pods = [d["spec"]["template"] for d in deployments]
    chosen = [pod for pod in pods if selects(spec["selector"], pod["metadata"].get("labels", {}))]
    if not chosen:
        found.append(f"Service {name} selects no pod of any deployment")
    for port in spec["ports"]:
        wanted = port.get("targetPort", port["port"])
        for pod in chosen:
            ports = [p for container in pod["spec"]["containers"] for p in container.get("ports", [])]
            if wanted not in [value for p in ports for value in (p.get("name"), p["containerPort"])]:
                found.append(f"Service {name} sends to port {wanted!r}, which no container has")
    return found


def _scaler_problems(scaler: Manifest, deployments: Sequence[Manifest]) -> list[str]:
    name, spec = scaler["metadata"]["name"], scaler["spec"]
    wanted = [d for d in deployments if d["metadata"]["name"] == spec["scaleTargetRef"]["name"]]
    if not wanted:
        return [
            f"HorizontalPodAutoscaler {name} scales {spec['scaleTargetRef']['name']!r}, which is not there"
        ]
    found = []
    for metric in spec.get("metrics", []):
        resource = metric.get("resource", {})
        if resource.get("target", {}).get("type") == "Utilization":
            containers = wanted[0]["spec"]["template"]["spec"]["containers"]
            if any(resource["name"] not in c.get("resources", {}).get("requests", {}) for c in containers):
                found.append(
                    f"HorizontalPodAutoscaler {name} needs a request of {resource['name']}: a share of nothing"
                )
    return found


UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: "128Mi" is 134217728.0, "500m" is 0.5. Raises ValueError for other text."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(text))
    if not match or match[2] not in UNITS:
        raise ValueError(f"{text!r} is no quantity: a number and one of {', '.join(filter(None, UNITS))}")
    return float(match[1]) * UNITS[match[2]]


# --- mistakes to find ---------------------------------------------------------------------------------------------


def _container(manifests: Sequence[Manifest]) -> Manifest:
    return _kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]


def _kind(manifests: Sequence[Manifest], kind: str) -> Manifest:
    return next(m for m in manifests if m["kind"] == kind)


MISTAKES: dict[str, Callable[[list[Manifest]], Any]] = {
    "readinesProbe, with one s": lambda ms: _container(ms).update(
        readinesProbe=_container(ms).pop("readinessProbe")
    ),
    'replicas: "three"': lambda ms: _kind(ms, "Deployment")["spec"].update(replicas="three"),
    "the port as text: '80'": lambda ms: _kind(ms, "Service")["spec"]["ports"][0].update(port="80"),
    "no selector in the deployment": lambda ms: _kind(ms, "Deployment")["spec"].pop("selector"),
    "an autoscaler without maxReplicas": lambda ms: _kind(ms, "HorizontalPodAutoscaler")["spec"].pop(
        "maxReplicas"
    ),
    "the service selects app: digit": lambda ms: _kind(ms, "Service")["spec"].update(
        selector={"app": "digit"}
    ),
    "the service sends to port 8080": lambda ms: _kind(ms, "Service")["spec"]["ports"][0].update(
        targetPort=8080
    ),
    "more memory asked for than allowed": lambda ms: _container(ms)["resources"]["limits"].update(
        memory="64Mi"
    ),
    "preStop as long as the grace": lambda ms: _container(ms)["lifecycle"]["preStop"]["sleep"].update(
        seconds=40
    ),
    "CPU is scaled on, and not requested": lambda ms: _container(ms)["resources"]["requests"].pop("cpu"),
    "image: digits:latest": lambda ms: _container(ms).update(image="registry.example/digits:latest"),
    "the readiness probe asks port https": lambda ms: _container(ms)["readinessProbe"]["httpGet"].update(
        port="https"
    ),
}
"""Mistakes that people make, each as a change of good manifests. The first five a schema can see."""


def caught(manifests: Sequence[Manifest]) -> dict[str, tuple[bool, bool]]:
    """For each mistake: whether the schema finds it, and whether our rules do (which need a valid object)."""
    found = {}
    for name, spoil in MISTAKES.items():
        spoiled = copy.deepcopy(list(manifests))
        spoil(spoiled)
        by_schema = bool(schema_errors(spoiled))
        found[name] = by_schema, not by_schema and bool(contradictions(spoiled))
    return found
