"""Client of the attractor service: upload a time series, reconstruct the system behind it, forecast it.

from attractor_client import Client

client = Client("http://127.0.0.1:8000")
model = client.reconstruct("lorenz63.csv", dt=0.01, time_unit="s").wait(progress=True)
print(model.forecast(horizon_steps=200).median)
"""

from attractor_client._figures import Figure, FigureInfo
from attractor_client._version import VERSION as __version__
from attractor_client._webhooks import Delivery, Webhook
from attractor_client.client import AsyncClient, Client
from attractor_client.errors import (
    AttractorError,
    AuthenticationFailed,
    BadRequest,
    ConfigurationError,
    Conflict,
    DataError,
    DeadlineExceeded,
    ErrorItem,
    InvalidRequest,
    InvalidSeries,
    JobCanceled,
    JobFailed,
    NotFound,
    PermissionDenied,
    RateLimited,
    RequestRefused,
    ServiceFailed,
    ServiceUnreachable,
    TooLarge,
    UnsupportedFormat,
)
from attractor_client.forecaster import AttractorForecaster
from attractor_client.local import LocalModel
from attractor_client.resources import AsyncJob, AsyncModel, AsyncSeries, Job, Model, Series
from attractor_client.results import Analysis, Evaluation, Event, Forecast, JobState, Progress, Report, Sample

__all__ = [
    "Analysis",
    "AsyncClient",
    "AsyncJob",
    "AsyncModel",
    "AsyncSeries",
    "AttractorError",
    "AttractorForecaster",
    "AuthenticationFailed",
    "BadRequest",
    "Client",
    "ConfigurationError",
    "Conflict",
    "DataError",
    "DeadlineExceeded",
    "Delivery",
    "ErrorItem",
    "Evaluation",
    "Event",
    "Figure",
    "FigureInfo",
    "Forecast",
    "InvalidRequest",
    "InvalidSeries",
    "Job",
    "JobCanceled",
    "JobFailed",
    "JobState",
    "LocalModel",
    "Model",
    "NotFound",
    "PermissionDenied",
    "Progress",
    "RateLimited",
    "Report",
    "RequestRefused",
    "Sample",
    "Series",
    "ServiceFailed",
    "ServiceUnreachable",
    "TooLarge",
    "UnsupportedFormat",
    "Webhook",
    "__version__",
]
