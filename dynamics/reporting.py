"""How long-running science speaks with whoever runs it: progress out, stop requests in, checkpoints both ways."""

from __future__ import annotations

from domain.jobs import Progress


class Interrupted(Exception):
    """The work was asked to stop (`should_stop()` turned true) and did; nothing is wrong."""


class Diverged(Exception):
    """No training run gave a usable model; the message says what was seen and what to try."""


class Reporter:
    """The silent default: notebooks and tests use it as it is, the worker's subclass talks to the database.

    Science calls `report` at least every second, asks `should_stop` at least every 0.3 s, and raises `Interrupted`
    when it turns true. Checkpoints are opaque bytes, written whole; `load_checkpoint` gives the newest of an earlier attempt.
    """

    def report(self, progress: Progress) -> None:
        """Publish progress; cheap enough to be called often."""

    def should_stop(self) -> bool:
        return False

    def save_checkpoint(self, data: bytes) -> None:
        """Keep `data` so that a later attempt can go on from here."""

    def load_checkpoint(self) -> bytes | None:
        return None

    def check(self) -> None:
        """Raise `Interrupted` if the work shall stop."""
        if self.should_stop():
            raise Interrupted
