"""The service's own secret. Digests of API keys are made with it and secrets of webhooks derived from it, so that a copy
of the database alone verifies no key and signs no message. It never changes: a new one makes every key worthless."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from pathlib import Path

from store.settings import StoreSettings

_FILE = "secret"
_TEXT = re.compile(rb"[0-9a-f]{64}\n")


class NoSecret(Exception):
    """The service's secret cannot be read or made; the message says where and what to do."""


def service_secret(settings: StoreSettings) -> bytes:
    """`settings.secret_key`, else what `data_dir/secret` holds: 32 random bytes as hex, made by whoever comes first.

    Processes that share a database must share the secret: where they do not share `data_dir`, set
    ATTRACTOR_SECRET_KEY. Raises `NoSecret`.
    """
    given = settings.secret_key.get_secret_value()
    if given:
        return given.encode()
    file = settings.data_dir / _FILE
    try:
        if not file.exists():
            _make(file)
        text = file.read_bytes()
    except OSError as error:
        raise NoSecret(f"The service's secret {file} cannot be used: {error.strerror}.") from error
    if not _TEXT.fullmatch(text):
        raise NoSecret(
            f"{file} does not hold 64 hexadecimal digits. Restore it from a backup: every key depends on it."
        )
    return text.strip()


def _make(file: Path) -> None:
    """Write a random secret, whole or not at all; of several processes the first one wins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".secret-", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(name, file)
        except FileExistsError:
            return  # another process was quicker
    finally:
        os.unlink(name)
