"""Jobs that take seconds of waiting and no computing, for benchmarks of the service: `kind: lyapunov` with
`metadata: {"steps": ..., "pause": ...}`. What is left of such a job shows whether every step was done once and in order.

Run as a script this is a worker whose jobs are these.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time

from domain.ids import new_id
from domain.jobs import JobKind, Progress
from domain.specs import LyapunovJob
from store.tables import ForecastRow
from worker.context import Context, Outcome

CHECKPOINT_EVERY = 4  # steps
BLOB_BYTES = 64 << 10


def step(digest: str, number: int) -> str:
    return hashlib.sha256(f"{digest} {number}".encode()).hexdigest()


def digest_of(job_id: str, steps: int) -> str:
    """What a job of so many steps comes to when none is left out or done twice."""
    digest = job_id
    for number in range(steps):
        digest = step(digest, number)
    return digest


def blob_of(digest: str) -> bytes:
    return digest.encode() * (BLOB_BYTES // len(digest))


def run(context: Context) -> Outcome:
    request = context.request
    assert isinstance(request, LyapunovJob)
    steps, pause = int(request.metadata["steps"]), float(request.metadata["pause"])
    saved = context.reporter.load_checkpoint()
    done, digest = json.loads(saved) if saved is not None else (0, context.task.job_id)
    for number in range(done, steps):
        context.reporter.check()
        time.sleep(pause)
        digest = step(digest, number)
        context.reporter.report(Progress(fraction=(number + 1) / steps, phase="waiting", step=number + 1))
        if (number + 1) % CHECKPOINT_EVERY == 0:
            context.reporter.save_checkpoint(json.dumps([number + 1, digest]).encode())
    blob = context.blobs.put(blob_of(digest))
    document = {"digest": digest, "began": time.time()}
    row = ForecastRow(id=new_id("forecast"), model_id="none", document=document, blob_sha256=blob.sha256)
    return Outcome(row)


HANDLERS = dict.fromkeys(JobKind, run)


if __name__ == "__main__":
    from worker.app import run_worker
    from worker.settings import WorkerSettings

    sys.exit(run_worker(WorkerSettings(), "light_science:HANDLERS"))
