"""The receiver in docs/guides/webhooks.md, run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import httpx
import pytest
from receiver import Post
from servers import free_port
from serving import ROOT, eventually

from store.database import Database
from store.settings import StoreSettings


def program() -> str:
    guide = (ROOT / "docs" / "guides" / "webhooks.md").read_text()
    (block,) = re.findall(r"runs this block -->\n```python\n(.*?)```", guide, re.DOTALL)
    return block


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_receiver_of_the_guide_takes_messages_and_refuses_forged_ones(
    store_settings: StoreSettings, database: Database
) -> None:
    post = Post(store_settings, database)
    port = free_port()
    hook = post.webhook(f"http://127.0.0.1:{port}/attractor")
    environment = os.environ | {"WEBHOOK_SECRET": post.secret(hook), "PORT": str(port)}
    receiver = subprocess.Popen(
        [sys.executable, "-c", program()], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:

        def status(headers: dict[str, str]) -> int | None:
            try:
                return httpx.post(
                    f"http://127.0.0.1:{port}/", content=b"{}", headers=headers, trust_env=False
                ).status_code
            except httpx.ConnectError:
                return None

        forged = {"webhook-id": "msg_1", "webhook-timestamp": "1753430400", "webhook-signature": "v1,c29tZXRoaW5n"}
        assert eventually(lambda: status(forged), "the receiver listens", 20) == 401
        assert status({}) == 401
        with post.sending():
            assert post.ended(post.test(hook)).status == "delivered"
    finally:
        receiver.terminate()
        said, _ = receiver.communicate(timeout=10)
    assert said == f"webhook.test {{'webhook_id': '{hook}'}}\n"
