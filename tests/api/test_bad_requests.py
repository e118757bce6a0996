"""Bad requests, each answered by the right 4xx with the place and a sentence that says what is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi.testclient import TestClient
from stock import Stock

SER, JOB, MDL, ANA = (f"{prefix}_{'0' * 32}" for prefix in ("ser", "job", "mdl", "ana"))
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Bad:
    name: str
    path: str
    status: int
    code: str
    pointer: str | None
    says: str
    body: Any = None
    raw: bytes | None = None
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def jobs(name: str, status: int, code: str, pointer: str | None, says: str, **body: Any) -> Bad:
    return Bad(name, "/v1/jobs", status, code, pointer, says, body={"kind": "lyapunov", "series_id": "@series"} | body)


def train(name: str, pointer: str, says: str, **params: Any) -> Bad:
    return jobs(name, 422, "invalid_parameters", f"/params/{pointer}", says, kind="train", params=params)


def forecast(name: str, pointer: str | None, says: str, *, code: str = "invalid_parameters", **body: Any) -> Bad:
    return Bad(name, "/v1/models/@model/forecasts", 422, code, pointer, says, body={"horizon_steps": 5} | body)


def raw(name: str, status: int, code: str, says: str, data: bytes, content_type: str = "application/json") -> Bad:
    headers = {"Content-Type": content_type} if content_type else {}
    return Bad(name, "/v1/jobs", status, code, None, says, raw=data, headers=headers)


def get(name: str, path: str, status: int, code: str, pointer: str | None, says: str, **headers: str) -> Bad:
    return Bad(name, path, status, code, pointer, says, method="GET", headers=headers)


NAN_METADATA = b'{"kind": "lyapunov", "series_id": "s", "metadata": {"a": %s}}'
TABLE = [
    # A truth value is no number.
    train("false for a number", "seed", "integer", seed=False),
    jobs("true for a number", 422, "invalid_parameters", "/priority", "integer", priority=True),
    # What is no JSON, or not only that.
    raw("empty body", 422, "invalid_parameters", "a JSON body is required", b""),
    raw("truncated", 400, "malformed_json", "line 1, column 8", b'{"kind":'),
    raw("second line", 400, "malformed_json", "line 2", b'{"kind": "train",\n"series_id": }'),
    raw("NaN", 400, "malformed_json", "at line 1", NAN_METADATA % b"NaN"),
    raw("Infinity", 400, "malformed_json", "at line 1", NAN_METADATA % b"-Infinity"),
    raw("not UTF-8", 400, "malformed_json", "not JSON", b'{"kind": "\xff"}'),
    raw("lone surrogate", 400, "malformed_json", "not JSON", rb'{"kind": "\ud800"}'),
    raw("300 levels deep", 400, "malformed_json", "recursion limit", b"[" * 300 + b"]" * 300),
    raw("an integer of 5000 digits", 400, "malformed_json", "out of range", b'{"kind": ' + b"9" * 5000 + b"}"),
    raw("an array", 422, "invalid_parameters", "valid dictionary", b"[]"),
    raw("form instead of JSON", 415, "unsupported_format", "application/json", b"kind=train", "text/plain"),
    raw("no content type", 415, "unsupported_format", "application/json", b'{"kind": "train"}', ""),
    raw("a body of 300 kB", 413, "too_large", "/v1/capabilities", b" " * 300_000),
    # Jobs.
    Bad(
        "misspelt validate_only",
        "/v1/jobs?validate-only=true",
        422,
        "invalid_parameters",
        "/query",
        "validate_only",
        body={"kind": "lyapunov", "series_id": "@series"},
    ),
    jobs("1e999 in metadata", 422, "invalid_parameters", "/metadata", "finite", metadata={"a": float("inf")}),
    jobs("NUL in metadata", 422, "invalid_parameters", "/metadata", "NUL", metadata={"a": "\0"}),
    jobs("large metadata", 422, "invalid_parameters", "/metadata", "at most 8192", metadata={"a": "x" * 9000}),
    jobs("unknown kind", 422, "invalid_parameters", "/kind", "'lyapunov', 'train'", kind="dance"),
    Bad("no kind", "/v1/jobs", 422, "invalid_parameters", "/kind", "is required", body={"series_id": SER}),
    Bad("no series", "/v1/jobs", 422, "invalid_parameters", "/series_id", "is required", body={"kind": "train"}),
    jobs("unknown field", 422, "invalid_parameters", "/prams", "is no known field", prams={}),
    jobs("unknown parameter", 422, "invalid_parameters", "/params/sed", "is no known field", params={"sed": 1}),
    jobs("no such series", 404, "not_found", "/series_id", SER, series_id=SER),
    jobs("no id at all", 404, "not_found", "/series_id", "There is no series", series_id="'; DROP TABLE job; --\0"),
    jobs("a model's id", 404, "not_found", "/series_id", "There is no series", series_id="@model"),
    jobs("unknown channel", 422, "unknown_channel", "/channels/1", "it has x, y", channels=["x", "z"]),
    jobs("a channel twice", 422, "invalid_parameters", "/channels/1", "named twice", channels=["x", "x"]),
    jobs("no channel", 422, "invalid_parameters", "/channels", "at least 1 item", channels=[]),
    jobs("time limit 0", 422, "invalid_parameters", "/limits/timeout_s", "greater than", limits={"timeout_s": 0}),
    jobs(
        "embedding too long",
        422,
        "invalid_parameters",
        "/params/embedding_delay",
        "spans 9000 steps",
        params={"embedding_dimension": 10, "embedding_delay": 1000},
    ),
    jobs("analysis of nothing", 404, "not_found", "/analysis_id", "no analysis", kind="train", analysis_id=ANA),
    train(
        "negative width", "hidden_dim", "must be 'auto', or must be greater than or equal to 1, not -3", hidden_dim=-3
    ),
    train("infinite width", "hidden_dim", "finite", hidden_dim=float("inf")),
    train("unknown architecture", "architecture", "clipped-shplrnn", architecture="transformer"),
    train("unknown forcing", "forcing/kind", "'stf', 'gtf', 'none'", forcing={"kind": "love"}),
    train("alpha of 2", "forcing/alpha", "less than or equal to 1, not 2", forcing={"kind": "gtf", "alpha": 2}),
    train("lags out of order", "", "embedding_lags must start with 0 and increase", embedding_lags=[1, 0]),
    train("sequence longer than the series", "sequence_length", "has 446 steps", sequence_length=5000),
    train("latent space too small", "latent_dim", "the 2 observed", latent_dim=1, observation={"kind": "identity"}),
    train("odd window", "regularization", "odd number of rows", regularization={"smoothing": 8}),
    train("window too long", "regularization/smoothing", "446 steps", regularization={"smoothing": 901}),
    train(
        "squashed units observed as they are",
        "observation",
        "(-1, 1)",
        architecture="gru",
        observation={"kind": "identity"},
    ),
    train("hidden units of a plain PLRNN", "hidden_dim", "has no hidden_dim", architecture="plrnn", hidden_dim=20),
    train(
        "counts that are none",
        "channel_distributions/x",
        "of channel 'x' in row 0 is no count: poisson needs integers from 0",
        channel_distributions={"x": "poisson"},
    ),
    train(
        "classes that are none",
        "channel_distributions/y",
        "is no class: categorical needs integers",
        channel_distributions={"y": "categorical"},
    ),
    train(
        "an unknown distribution",
        "channel_distributions/x",
        "'gaussian', 'poisson', 'ordinal' or 'categorical'",
        channel_distributions={"x": "binomial"},
    ),
    train(
        "counts through a kernel",
        "",
        "channel_distributions ('x': poisson) and observation",
        channel_distributions={"x": "poisson"},
        observation={"kind": "convolutional"},
    ),
    train("layers of an LSTM", "layers", "architecture deep-plrnn", architecture="lstm", layers=2),
    train("nine layers", "layers", "less than or equal to 8", architecture="deep-plrnn", layers=9),
    train("an LSTM of 31 units", "latent_dim", "even, not 31", architecture="lstm", latent_dim=31),
    train(
        "more pieces than units", "hidden_dim", "cannot have 30", architecture="al-rnn", latent_dim=20, hidden_dim=30
    ),
    train(
        "a bound that nobody knows",
        "forcing/estimate",
        "arithmetic-mean",
        architecture="lstm",
        forcing={"kind": "gtf", "adaptive": True, "estimate": "parameter-bound"},
    ),
    train(
        "annealed and adaptive",
        "forcing",
        "set adaptive to false",
        forcing={"kind": "gtf", "adaptive": True, "final_alpha": 0.1},
    ),
    train("annealed from nothing", "forcing", "alpha above 0", forcing={"kind": "gtf", "alpha": 0, "final_alpha": 0.1}),
    train("annealed to nothing", "forcing/final_alpha", "greater than 0", forcing={"kind": "gtf", "final_alpha": 0}),
    train("negative spread", "forcing/spread_steps", "equal to 0", forcing={"kind": "stf", "spread_steps": -1}),
    train(
        "interval to 0",
        "forcing/final_interval_steps",
        "equal to 1",
        forcing={"kind": "stf", "final_interval_steps": 0},
    ),
    train("no optimiser", "optimizer", "'radam', 'adam' or 'adamw'", optimizer="sgd"),
    train("clipped to nothing", "gradient_clip", "greater than 0", gradient_clip=0),
    train("kernels on a GPU", "", 'engine to "torch" or "auto"', device="cuda", engine="compiled"),
    train(
        "pulled to no identity",
        "regularization/identity",
        "set it to 0",
        architecture="gru",
        regularization={"identity": 1},
    ),
    train(
        "no units to remember",
        "regularization/manifold_attractor",
        "set it to 0",
        architecture="lstm",
        regularization={"manifold_attractor": 1},
    ),
    train(
        "no matrix to condition",
        "regularization/observation_condition",
        "no matrix",
        regularization={"observation_condition": 1},
    ),
    jobs(
        "unknown input",
        422,
        "unknown_channel",
        "/params/input_channels/0",
        "chosen channels are x, y",
        kind="train",
        params={"input_channels": ["z"]},
    ),
    jobs(
        "an input that was not chosen",
        422,
        "unknown_channel",
        "/params/train/input_channels/0",
        "chosen channels are x",
        kind="reconstruct",
        channels=["x"],
        params={"train": {"input_channels": ["y"]}},
    ),
    train("nothing left to observe", "input_channels", "nothing is left", input_channels=["x", "y"]),
    train("an input twice", "", "names a channel twice", input_channels=["x", "x"]),
    jobs(
        "analysis of an input as well",
        422,
        "invalid_parameters",
        "/analysis_id",
        "of the channels x, y, not of x",
        kind="train",
        analysis_id="@analysis",
        params={"input_channels": ["y"]},
    ),
    train("nothing left to train on", "", "at least 5 %", validation_fraction=0.5, test_fraction=0.5),
    jobs("model of nothing", 404, "not_found", "/model_id", MDL, kind="evaluate", model_id=MDL, series_id=None),
    jobs(
        "reference part beyond the end",
        422,
        "invalid_parameters",
        "/params/stop_index",
        "1000 steps",
        kind="evaluate",
        model_id="@model",
        params={"stop_index": 5000},
    ),
    jobs(
        "forecast job from a gap",
        422,
        "invalid_parameters",
        "/params/start_index",
        "1 to 400, 411 to 1000",
        kind="forecast",
        model_id="@model",
        params={"horizon_steps": 5, "start_index": 405},
    ),
    Bad(
        "key too long",
        "/v1/jobs",
        422,
        "invalid_parameters",
        "/header/idempotency-key",
        "at most 255",
        body={"kind": "lyapunov", "series_id": "@series"},
        headers={"Idempotency-Key": "k" * 256},
    ),
    Bad("cancel nothing", f"/v1/jobs/{JOB}/cancel", 404, "not_found", None, JOB),
    # Forecasts.
    forecast("horizon of 10^12", "/horizon_steps", "less than or equal to 1000000", horizon_steps=10**12),
    forecast("horizon of 0", "/horizon_steps", "greater than or equal to 1", horizon_steps=0),
    forecast("two horizons", None, "exactly one of", horizon_lyapunov_times=3.0),
    forecast("no horizon", None, "exactly one of", horizon_steps=None),
    forecast("quantile of 1", "/quantiles/0", "less than or equal to 0.9999", quantiles=[1.0]),
    jobs(
        "forecast job of too many numbers",
        422,
        "invalid_parameters",
        "/params/horizon_steps",
        "too many numbers",
        kind="forecast",
        model_id="@model",
        params={"horizon_steps": 10**6, "quantiles": [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]},
    ),
    forecast("no context at all", "/context/values", "at least 1 item", context={"values": []}),
    forecast("context too wide", "/context/values/1", "channels are x, y", context={"values": [[1, 2], [1, 2, 3]]}),
    forecast("hole in the context", "/context/values/0/1", "of y in row 0 is missing", context={"values": [[1, None]]}),
    forecast("text in the context", "/context/values/0/0", "valid number", context={"values": [["a", 1]]}),
    forecast("context and series", "/series_id", "not both", context={"values": [[1, 1]]}, series_id=SER),
    forecast("start before the data", "/start_index", "possible are", start_index=0),
    forecast("start beyond the end", "/start_index", "possible are", start_index=1001),
    forecast("a thousand million members", "/samples", "less than or equal to 1000", samples=10**9),
    # Reading.
    get("no such path", "/v1/nothing", 404, "not_found", None, "nothing at this path"),
    get("id of another kind", "/v1/models/@series", 404, "not_found", None, "There is no model"),
    get("id with a NUL", "/v1/jobs/job_%00", 404, "not_found", None, "There is no job"),
    get("id that climbs", "/v1/analyses/..%2F..%2Fetc%2Fpasswd", 404, "not_found", None, "nothing at this path"),
    get("artifact that climbs", "/v1/models/@model/artifacts/..%5Cmodel.json", 404, "not_found", None, "no artifact"),
    get("artifact with a NUL", "/v1/models/@model/artifacts/%00", 404, "not_found", None, "no artifact"),
    get("cursor of nobody", "/v1/jobs?cursor=abc", 400, "bad_request", None, "next_cursor"),
    get("cursor of another list", "/v1/jobs?cursor=@cursor", 400, "bad_request", None, "next_cursor"),
    get("page of 0", "/v1/models?limit=0", 422, "invalid_parameters", "/query/limit", "greater than or equal to 1"),
    get("page of a million", "/v1/jobs?limit=1000000", 422, "invalid_parameters", "/query/limit", "equal to 200"),
    get("unknown state", "/v1/jobs?status=tired", 422, "invalid_parameters", "/query/status", "'queued'"),
    get("filter that is no id", "/v1/jobs?series_id=x", 422, "invalid_parameters", "/query/series_id", "pattern"),
    get("wait of an hour", f"/v1/jobs/{JOB}?wait=3600", 422, "invalid_parameters", "/query/wait", "equal to 60"),
    get(
        "unknown format", f"/v1/forecasts/fct_{'0' * 32}?format=xls", 422, "invalid_parameters", "/query/format", "csv"
    ),
    get(
        "unknown channel of data",
        "/v1/series/@series/data?channels=x,z",
        422,
        "unknown_channel",
        "/query/channels",
        "it has x, y",
    ),
    get("bad range", "/v1/models/@model/artifacts/model.json", 400, "bad_request", None, "range", Range="bytes=z"),
    Bad("wrong method", "/v1/capabilities", 405, "method_not_allowed", None, "does not know this method", method="PUT"),
]


def send(client: TestClient, bad: Bad, names: dict[str, str]) -> Any:
    def fill(text: str) -> str:
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    content, headers = bad.raw, dict(bad.headers)
    if bad.body is not None:
        document = {k: v for k, v in bad.body.items() if not (v is None and k in ("series_id", "horizon_steps"))}
        if document.get("kind") in ("evaluate", "forecast") and document.get("series_id") == "@series":
            del document["series_id"]
        content = fill(json.dumps(document).replace("Infinity", "1e999")).encode()
        headers = JSON | headers
    return client.request(bad.method, fill(bad.path), content=content, headers=headers)


def judge(bad: Bad, answer: Any) -> list[str]:
    """What is wrong with the answer."""
    if answer.headers["content-type"] != "application/problem+json":
        return [f"{answer.status_code} {answer.text[:200]}"]
    problem = answer.json()
    pointers = [item["pointer"] for item in problem["errors"]]
    wrong = []
    if (answer.status_code, problem["status"], problem["code"]) != (bad.status, bad.status, bad.code):
        wrong.append(f"{answer.status_code} {problem['code']}")
    if bad.says not in problem["detail"]:
        wrong.append(problem["detail"])
    if bad.pointer is not None and bad.pointer.rstrip("/") not in pointers:
        wrong.append(f"points to {pointers}")
    if problem["request_id"] != answer.headers["x-request-id"] or not problem["title"]:
        wrong.append(f"{problem}")
    return wrong


def test_every_bad_request_has_its_answer_and_leaves_nothing_behind(client: TestClient, stock: Stock) -> None:
    cursor = "c2VyXzAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw"  # of a series
    names = {"@series": stock.series_id, "@model": stock.model_id, "@analysis": stock.analysis_id, "@cursor": cursor}
    assert len(TABLE) >= 60
    assert len({bad.name for bad in TABLE}) == len(TABLE)
    wrong = {bad.name: problems for bad in TABLE if (problems := judge(bad, send(client, bad, names)))}
    assert wrong == {}
    checks = client.get("/readyz").json()["checks"]
    assert {name for name, check in checks.items() if not check["ok"]} <= {"workers"}  # there is none here
    assert client.get("/v1/jobs").json()["data"] == []
    assert client.get("/v1/forecasts").json()["data"] == []
    assert client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).status_code == 202


def test_validate_only_refuses_the_same(client: TestClient, stock: Stock) -> None:
    body = {"kind": "lyapunov", "series_id": stock.series_id, "channels": ["z"]}
    refused = [client.post("/v1/jobs", json=body, params={"validate_only": v}).json() for v in (True, False)]
    without_ids = [{k: v for k, v in problem.items() if k != "request_id"} for problem in refused]
    assert without_ids[0] == without_ids[1]


@pytest.mark.parametrize("query", ["?limit=0&limit=-1", "?cursor=" + "a" * 500, "?status=&kind="])
def test_several_wrong_parameters_are_all_named(client: TestClient, query: str) -> None:
    answer = client.get("/v1/jobs" + query)
    assert answer.status_code == 422
    assert all(item["pointer"].startswith("/query/") and item["detail"] for item in answer.json()["errors"])
