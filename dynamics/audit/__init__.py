"""What an uploaded series is checked for before anything is computed from it."""

from dynamics.audit.places import Places
from dynamics.audit.recordings import RecordingRows
from dynamics.audit.series import AuditedSeries, audit

__all__ = ["AuditedSeries", "Places", "RecordingRows", "audit"]
