"""What workers count reaches whoever asks the API, in Prometheus' own words."""

from __future__ import annotations

import json

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from store import metrics


class _Merged:
    def __init__(self, snapshots: dict[str, metrics.Snapshot]) -> None:
        self.snapshots = snapshots

    def collect(self):  # type: ignore[no-untyped-def]
        return metrics.merged(self.snapshots)


def exposed(snapshots: dict[str, metrics.Snapshot]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels, as Prometheus' own parser reads the text."""
    text = generate_latest(_Merged(snapshots)).decode()  # type: ignore[arg-type]
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_snapshots_survive_json_and_keep_workers_apart() -> None:
    metrics.LEASE_EXPIRIES.labels("requeued").inc(3)
    metrics.PHASE_SECONDS.labels("train", "training").observe(42.0)
    before = json.loads(json.dumps(metrics.snapshot(), allow_nan=False))
    metrics.LEASE_EXPIRIES.labels("requeued").inc(2)
    after = json.loads(json.dumps(metrics.snapshot(), allow_nan=False))
    samples = exposed({"a:1": before, "b:2": after})

    def expiries(worker: str) -> float:
        labels = frozenset({("fate", "requeued"), ("worker", worker)})
        return samples["attractor_lease_expiries_total", labels]

    assert expiries("b:2") - expiries("a:1") == 2.0
    bucket = frozenset({("kind", "train"), ("phase", "training"), ("le", "60.0"), ("worker", "a:1")})
    assert samples["attractor_phase_seconds_bucket", bucket] >= 1.0


def test_every_family_is_announced_once_whatever_the_number_of_workers() -> None:
    snap = metrics.snapshot()
    text = generate_latest(_Merged({f"w:{i}": snap for i in range(3)})).decode()  # type: ignore[arg-type]
    types = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types)) > 0
    assert "_created" not in text


def test_a_worker_of_another_release_may_count_what_this_one_does_not_know() -> None:
    foreign = [
        {"name": "attractor_news", "type": "counter", "help": "New.", "samples": [["attractor_news_total", {}, 7.0]]}
    ]
    assert exposed({"c:3": foreign}) == {("attractor_news_total", frozenset({("worker", "c:3")})): 7.0}


def test_names_follow_the_conventions() -> None:
    for registry in (metrics.API, metrics.WORKER):
        assert isinstance(registry, CollectorRegistry)
        for family in registry.collect():
            assert family.name.startswith("attractor_")
            assert family.type in ("counter", "histogram")
            assert family.type != "histogram" or family.name.endswith("_seconds")
