"""The whole service with its blobs in a bucket, telling a webhook when a job has ended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from buckets import new_bucket, s3_server
from receiver import receiving
from serving import TRAINING, eventually, henon, serving, submit, succeeded, upload
from standardwebhooks.webhooks import Webhook

pytestmark = pytest.mark.e2e
LOCAL_WEBHOOKS = {
    "ATTRACTOR_WEBHOOK_ALLOW_HTTP": "true",
    "ATTRACTOR_WEBHOOK_PORTS": "[]",
    "ATTRACTOR_WEBHOOK_ALLOW_PRIVATE": '["127.0.0.0/8"]',
}


def test_a_job_with_its_files_in_a_bucket_and_its_end_told(tmp_path: Path) -> None:
    with s3_server() as endpoint, receiving() as receiver:
        bucket = new_bucket(endpoint)
        environment = bucket.environment | LOCAL_WEBHOOKS
        with serving(tmp_path / "data", **environment) as served, served.client as client:
            hook = client.post("/v1/webhooks", json={"url": receiver.url()}).json()
            series_id = upload(client, henon(1000))
            params = TRAINING | {"updates": 200}
            job = succeeded(client, submit(client, kind="train", series_id=series_id, params=params, metadata={"n": 1}))
            (message,) = receiver.wait_for(1)
            told = Webhook(hook["secret"]).verify(message.body, message.headers)
            assert (told["type"], told["data"]["id"]) == ("job.succeeded", job["id"])
            assert (told["data"]["result"], told["data"]["metadata"]) == (job["result"], {"n": 1})
            deliveries = f"/v1/webhooks/{hook['id']}/deliveries"
            delivered = "the delivery is recorded"
            eventually(lambda: client.get(deliveries).json()["data"][0]["status"] == "delivered", delivered)

            artifacts = client.get(job["result"]["href"]).json()["artifacts"]
            weights = client.get(artifacts[0]["href"]).content
            # As another machine would: nothing is in its cache.
            shutil.rmtree(tmp_path / "data" / "blobs-cache")
            assert client.get(artifacts[0]["href"]).content == weights
            forecast = client.post(f"{job['result']['href']}/forecasts", json={"horizon_steps": 5})
            assert forecast.status_code == 201, forecast.text
        kept = {"".join(key.split("/")[-3:-1]) for key in bucket.object_keys()}
        assert {artifact["sha256"] for artifact in artifacts} <= kept
        assert len(kept) >= 3, "and the series"
        assert not (tmp_path / "data" / "blobs").exists()
