"""The wake-up calls. Celery carries a job's id and nothing else; which jobs there are, and whose, the database knows.

So a message may be lost, doubled or late: a lost one is published again by the sweep, a doubled one finds nothing to
claim. The settings follow from that, each for a failure that was measured (`docs/adr`).
"""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from domain.jobs import JobQueue
from store import file_transport  # noqa: F401 - registers the transport
from store.settings import StoreSettings

log = logging.getLogger(__name__)

RUN_JOB = "attractor.run_job"
QUEUE = "attractor"
# The broker's queue of each of ours.
QUEUES = {JobQueue.CPU: QUEUE, JobQueue.GPU: f"{QUEUE}.gpu"}

MAX_MESSAGES = 1000  # that wait, of each queue, before the sweep adds none


def make_celery(settings: StoreSettings, *, silence_seconds: float = 5.0) -> Celery:
    """The Celery application of API and worker; the worker registers the task `RUN_JOB(job_id)` on it. `silence_seconds`:
    how long an answer of the broker is waited for."""
    celery = Celery("attractor", broker=settings.broker_url, set_as_current=False)
    celery.conf.update(
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        # The lease starts a lost job again, with a cap; a broker that does so as well runs it twice, or for ever.
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        # One message per process, so that a short job does not wait in a busy worker's hand.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=not settings.embedded_broker,
        task_publish_retry=False,
        broker_connection_timeout=3,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Jobs go on while the broker is away.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=0,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_transport_options=_transport_options(settings, silence_seconds),
    )
    return celery


def _transport_options(settings: StoreSettings, silence_seconds: float) -> dict[str, Any]:
    if settings.embedded_broker:
        return {"directory": str(settings.queue_dir)}
    return {
        # Longer than any job: messages are acknowledged early, and redelivery is the lease's business.
        "visibility_timeout": 43_200,
        "socket_timeout": silence_seconds,
        "socket_connect_timeout": min(3.0, silence_seconds),
        "socket_keepalive": True,
        # A request that announces a job fails at once when the broker is away; a worker's consumer tries for ever.
        "max_retries": 0,
    }


class Announcer:
    """What an API process has of the broker. One that is gone refuses at once; one that is silent (frozen, or cut off by a
    network that drops packets) would hold every request that announces a job, and soon all threads of the process. So it is
    waited for shortly, and once in a while: the sweep announces what was not announced."""

    SILENCE_SECONDS = 1.0
    PAUSE_SECONDS = 5.0

    def __init__(self, settings: StoreSettings) -> None:
        self._celery = make_celery(settings, silence_seconds=self.SILENCE_SECONDS)
        self._away_until = 0.0

    def announce(self, job_id: str, queue: str) -> bool:
        """`publish`, unless the broker was found away a moment ago."""
        if time.monotonic() < self._away_until:
            return False
        done = publish(self._celery, job_id, queue)
        if not done:
            self._away_until = time.monotonic() + self.PAUSE_SECONDS
        return done

    def ping(self) -> None:
        """Raise OperationalError or OSError unless the broker answers."""
        with self._celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=self.SILENCE_SECONDS)

    def close(self) -> None:
        self._celery.close()


def publish(celery: Celery, job_id: str, queue: str = JobQueue.CPU) -> bool:
    """Announce a queued job, after its transaction has committed; False when the broker is away, which is no error:
    the sweep publishes again what nobody has claimed."""
    try:
        celery.send_task(RUN_JOB, args=[job_id], queue=QUEUES[JobQueue(queue)], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("job %s could not be announced, the sweep will: %s", job_id, error)
        return False
    return True


def publish_again(celery: Celery, job_id: str, queue: str = JobQueue.CPU) -> bool:
    """What the sweep does for a job that waits long: `publish`, unless so many messages wait that one more wakes nobody
    earlier. While all workers are busy for hours the broker's memory stays bounded so."""
    with celery.connection_for_write() as connection:
        try:
            waiting = connection.default_channel.queue_declare(QUEUES[JobQueue(queue)], passive=True).message_count
        except connection.channel_errors:
            waiting = 0  # nobody has ever waited for this queue, or it is empty: Redis knows no difference
        except (OperationalError, OSError, *connection.connection_errors) as error:
            log.warning("job %s could not be announced, a later sweep will: %s", job_id, error)
            return False
    return waiting < MAX_MESSAGES and publish(celery, job_id, queue)
