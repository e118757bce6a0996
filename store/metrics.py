"""What the processes count. Names and labels are public: dashboards and alert rules use them.

An API process shows `API` itself. Worker processes come and go and nobody can reach into them, so each writes what
`WORKER` holds into its row of the database (`snapshot`), and every API process shows all of them with the label
`worker` (`merged`): one address to scrape, whatever the number of workers. What can be asked of the database at any
moment is not counted here but in `store.statistics`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric

API = CollectorRegistry(auto_describe=True)
WORKER = CollectorRegistry(auto_describe=True)

_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)

HTTP_REQUESTS = Histogram(
    "attractor_http_request_seconds",
    "Requests by route template, from the first byte of the answer's way in to the last one out; streams until their end.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=API,
)
UPLOADS = Counter("attractor_uploads_total", "Series accepted, by whether they were new.", ["created"], registry=API)
UPLOAD_REJECTS = Counter(
    "attractor_upload_rejects_total", "Uploads refused, by the code of the problem.", ["code"], registry=API
)
AUTHENTICATION_REFUSALS = Counter(
    "attractor_authentication_refusals_total",
    "Requests without a usable key or scope, by code.",
    ["code"],
    registry=API,
)
RATE_LIMITED = Counter(
    "attractor_rate_limited_total", "Requests refused because a limit was reached, by code.", ["code"], registry=API
)
ATTEMPTS = Counter(
    "attractor_attempts_total",
    "Attempts that ended, by how: succeeded, failed, canceled, paused, released, requeued, lease_lost.",
    ["kind", "outcome"],
    registry=WORKER,
)
PHASE_SECONDS = Histogram(
    "attractor_phase_seconds",
    "Time that an attempt spent in one phase.",
    ["kind", "phase"],
    buckets=_SECONDS,
    registry=WORKER,
)
START_SECONDS = Histogram(
    "attractor_job_start_seconds",
    "From a job's submission to the start of its first attempt.",
    ["queue"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, *_SECONDS[1:]),
    registry=WORKER,
)
LEASE_EXPIRIES = Counter(
    "attractor_lease_expiries_total",
    "Leases and time limits that ran out, by what became of the job: requeued, failed, canceled.",
    ["fate"],
    registry=WORKER,
)
JOB_PROCESS_DEATHS = Counter(
    "attractor_job_process_deaths_total",
    "Processes of jobs that ended or fell silent by themselves, by cause.",
    ["cause"],
    registry=WORKER,
)
SWEEP_FAILURES = Counter("attractor_sweep_failures_total", "Sweeps that an error ended.", registry=WORKER)
BLOBS_DAMAGED = Counter(
    "attractor_blobs_damaged_total", "Blobs whose bytes were not what they should be.", registry=WORKER
)
WEBHOOK_ATTEMPTS = Counter(
    "attractor_webhook_attempts_total",
    "Requests to webhooks, by outcome: delivered, refused, unreachable, forbidden.",
    ["outcome"],
    registry=WORKER,
)
WEBHOOK_SECONDS = Histogram(
    "attractor_webhook_delivery_seconds", "From an event to its delivery.", buckets=_SECONDS, registry=WORKER
)

Snapshot = list[dict[str, Any]]


def snapshot() -> Snapshot:
    """All that this worker process has counted, as JSON: families of [sample, labels, value]."""
    return [
        {
            "name": family.name,
            "type": family.type,
            "help": family.documentation,
            "samples": [
                [sample.name, dict(sample.labels), sample.value]
                for sample in family.samples
                if not sample.name.endswith("_created")
            ],
        }
        for family in WORKER.collect()
        if family.samples
    ]


def merged(snapshots: Mapping[str, Snapshot]) -> Iterator[Metric]:
    """The families of all workers by name, each sample with the label `worker`. Workers of another release may have
    families that this one does not know."""
    families: dict[str, Metric] = {}
    for worker, snap in snapshots.items():
        for found in snap:
            family = families.setdefault(found["name"], Metric(found["name"], found["help"], found["type"]))
            for name, labels, value in found["samples"]:
                family.add_sample(name, {**labels, "worker": worker}, value)
    yield from families.values()
