"""The files in deploy/: rendered, checked against schemas, and true to the settings and measures that they name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfyward import metrics
from comfyward.fleet.pools import load_fleet
from comfyward.settings import Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "kubernetes" / "comfyward"
BIN = Path(sys.executable).parent
VALUES: dict[str, Any] = {
    "publicUrl": "https://comfy.example.com",
    "secret": {"databaseUrl": "postgresql://user:password@host/db", "accessKeyId": "a", "secretAccessKey": "b"},
    "objects": {"url": "s3://bucket/prefix"},
}
NODE_VOLUME = {"hostPath": {"path": "/var/lib/comfyward"}}
EVERYTHING: dict[str, Any] = {
    **VALUES,
    "ingress": {"enabled": True, "tlsSecret": "tls", "annotations": {"a": "b"}},
    "servers": {"settings": {"run_timeout_s": 60, "larger_pools": {"L4": "H100"}}, "nodeSelector": {"a": "b"}},
    "workers": [
        {"pool": "A100_80GB", "tokenSecret": "t", "scaling": {"max": 4}, "settings": {"cache_limit_bytes": 5}},
        {
            "pool": "L4",
            "tokenSecret": "t",
            "replicas": 2,
            "resources": {"requests": {"cpu": "4"}},
            "environments": NODE_VOLUME,
        },
    ],
    "ray": {
        "enabled": True,
        "groups": [
            {"accelerator": "A100_80GB", "rayAccelerator": "A100-80G", "max": 4, "environments": NODE_VOLUME},
            {"accelerator": "L4", "max": 1},
        ],
    },
    "metrics": {"serviceMonitor": True},
}
SCHEMALESS = {"ScaledObject", "RayCluster", "ServiceMonitor"}


def helm(command: str, values: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    name = ["comfy"] if command == "template" else []
    return subprocess.run([BIN / "helm", command, *name, CHART, "-f", path], capture_output=True, text=True)


def rendered(values: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    answer = helm("template", values, folder)
    assert answer.returncode == 0, answer.stderr
    return [each for each in yaml.safe_load_all(answer.stdout) if each]


@pytest.mark.parametrize("values", [VALUES, EVERYTHING], ids=["least", "everything"])
def test_the_chart_renders_to_what_kubernetes_takes(values: dict[str, Any], tmp_path: Path) -> None:
    documents = rendered(values, tmp_path)
    assert helm("lint", values, tmp_path).returncode == 0
    for number, document in enumerate(each for each in documents if each["kind"] not in SCHEMALESS):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(document))
        checked = subprocess.run(
            [BIN / "kubernetes-validate", "--strict", "-k", "1.30", path], capture_output=True, text=True
        )
        assert checked.returncode == 0, f"{document['kind']}: {checked.stdout}{checked.stderr}"


@pytest.mark.parametrize("missing", ["publicUrl", "secret", "objects"])
def test_missing_values_are_reported(missing: str, tmp_path: Path) -> None:
    refused = helm("template", {key: value for key, value in VALUES.items() if key != missing}, tmp_path)

    assert refused.returncode != 0
    assert "is needed" in refused.stderr


def test_servers_stop_and_start_as_kubernetes_expects(tmp_path: Path) -> None:
    documents = rendered(VALUES, tmp_path)
    [server] = [each for each in documents if each["kind"] == "Deployment"]
    pod = server["spec"]["template"]["spec"]
    [container] = pod["containers"]
    settings = {each["name"]: each.get("value") for each in container["env"]}

    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert float(settings["COMFYWARD_DRAIN_DELAY_S"]) < pod["terminationGracePeriodSeconds"]
    assert server["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert {"Job", "PodDisruptionBudget", "NetworkPolicy", "Secret"} <= {each["kind"] for each in documents}


def test_workers_have_no_keys_of_the_servers(tmp_path: Path) -> None:
    documents = rendered(EVERYTHING, tmp_path)
    workers = [each for each in documents if each["metadata"]["labels"].get("app.kubernetes.io/component") == "worker"]
    assert len(workers) == 2
    for worker in workers:
        names = {each["name"] for each in worker["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert not names & {"COMFYWARD_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"}
        assert "COMFYWARD_WORKER_TOKEN_FILE" in names
        assert "COMFYWARD_WORKER_TOKEN" not in names
        pod = worker["spec"]["template"]["spec"]
        [token] = [each["secret"] for each in pod["volumes"] if each["name"] == "token"]
        assert token["secretName"]
        assert token["items"] == [{"key": "token", "path": "token"}]


def test_environments_lie_in_a_volume_of_the_node_from_before_a_worker_joins(tmp_path: Path) -> None:
    documents = rendered(EVERYTHING, tmp_path)
    [ray] = [each for each in documents if each["kind"] == "RayCluster"]
    pods = [each["template"]["spec"] for each in ray["spec"]["workerGroupSpecs"]]
    deployments = [each for each in documents if each["kind"] == "Deployment"]
    pods += [each["spec"]["template"]["spec"] for each in deployments if "-worker-" in each["metadata"]["name"]]
    with_volume = [pod for pod in pods if "initContainers" in pod]
    assert (len(pods), len(with_volume)) == (4, 2)
    for pod in with_volume:
        assert {"name": "environments", **NODE_VOLUME} in pod["volumes"]
        [first], [worker] = pod["initContainers"], pod["containers"]
        assert [*first.get("command", ())[1:], *first.get("args", ())] == ["comfyui", "install"]
        for container in (first, worker):
            [mounted] = [each for each in container["volumeMounts"] if each["name"] == "environments"]
            settings = {each["name"]: each.get("value") for each in container["env"]}
            assert settings["COMFYWARD_ENVIRONMENTS_DIR"] == mounted["mountPath"]
            assert settings["UV_CACHE_DIR"].startswith(f"{mounted['mountPath']}/")


def test_the_fleets_file_in_the_chart_is_one(tmp_path: Path) -> None:
    [config] = [each for each in rendered(EVERYTHING, tmp_path) if each["kind"] == "ConfigMap"]
    path = tmp_path / "fleet.toml"
    path.write_text(config["data"]["fleet.toml"])

    pool = load_fleet(path).pools["A100_80GB"]

    assert (pool.accelerator, pool.limits.max) == ("A100-80G", 4)


def test_every_setting_that_is_named_exists() -> None:
    known = {f"COMFYWARD_{name.upper()}" for name in Settings.model_fields}
    known |= {"COMFYWARD_WORKER_TOKEN_FILE", "COMFYWARD_FLEET_TOKEN", "COMFYWARD_FLEET_TOKEN_FILE", "COMFYWARD_"}
    for path in (ROOT / "deploy").rglob("*"):
        if path.is_file():
            named = set(re.findall(r"COMFYWARD_[A-Z0-9_]*", path.read_text()))
            assert named <= known, f"{path.name}: {sorted(named - known)}"


def test_compose_is_whole() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    stages = set(re.findall(r"FROM \S+ AS (\w+)", (ROOT / "deploy" / "Dockerfile").read_text()))
    services, volumes = compose["services"], set(compose["volumes"])
    for name, service in services.items():
        assert "image" in service, name
        if build := service.get("build"):
            assert build["target"] in stages
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in volumes or (ROOT / "deploy" / source).exists(), f"{name}: {volume}"
        assert set(service.get("depends_on", ())) <= set(services)
    secrets = compose["secrets"]
    assert services["worker"]["secrets"] == list(secrets)
    assert services["worker"]["environment"] == {"COMFYWARD_WORKER_TOKEN_FILE": f"/run/secrets/{next(iter(secrets))}"}
    from_env = {each["environment"] for each in secrets.values()}
    wanted = from_env | set(re.findall(r"\$\{(\w+)", (ROOT / "deploy" / "compose.yaml").read_text()))
    assert wanted == set(re.findall(r"^(\w+)=", (ROOT / "deploy" / "example.env").read_text(), re.MULTILINE))


def test_the_balancers_configuration_is_understood() -> None:
    checked = subprocess.run(["haproxy", "-c", "-f", ROOT / "deploy" / "haproxy.cfg"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_every_measure_on_the_dashboard_and_in_the_scaler_exists() -> None:
    exposed = set(re.findall(r'"comfyward_(\w+)"|gauge\("(\w+)"|\("(\w+_bytes|cache_\w+)",', _source()))
    names = {f"comfyward_{name}" for found in exposed for name in found if name}
    names |= {f"comfyward_worker_{name}" for found in exposed for name in found if name}
    names |= {f"{name}{suffix}" for name in list(names) for suffix in ("_total", "_bucket")}
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "comfyward.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions.append((CHART / "templates" / "workers.yaml").read_text())

    for expression in expressions:
        assert set(re.findall(r"comfyward_\w+", expression)) <= names, expression


def _source() -> str:
    api = Path(metrics.__file__).parent / "api" / "metrics.py"
    return Path(metrics.__file__).read_text() + api.read_text()
