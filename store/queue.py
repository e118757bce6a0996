"""The wake-up calls. Celery carries a job's id and nothing else; which jobs there are, and whose, the database knows.

So a message may be lost, doubled or late: a lost one is published again by the sweep, a doubled one finds nothing to
claim. The settings follow from that, each for a failure that was measured (`docs/adr`).
"""

from __future__ import annotations

import logging
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


def make_celery(settings: StoreSettings) -> Celery:
    """The Celery application of API and worker; the worker registers the task `RUN_JOB(job_id)` on it."""
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
        broker_transport_options=_transport_options(settings),
    )
    return celery


def _transport_options(settings: StoreSettings) -> dict[str, Any]:
    if settings.embedded_broker:
        return {"directory": str(settings.queue_dir)}
    return {
        # Longer than any job: messages are acknowledged early, and redelivery is the lease's business.
        "visibility_timeout": 43_200,
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "retry_on_timeout": True,
        # A request that announces a job fails at once when the broker is away; a worker's consumer tries for ever.
        "max_retries": 0,
    }


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
