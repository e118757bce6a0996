"""A gallery of systems whose dynamics are known, for trying the service and for judging what it says."""

from dynamics.samples.catalogue import SAMPLES
from dynamics.samples.generating import observed, trajectory
from dynamics.samples.system import Known, Sample

__all__ = ["SAMPLES", "Known", "Sample", "observed", "trajectory"]
