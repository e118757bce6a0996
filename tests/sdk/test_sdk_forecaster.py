"""The forecaster's conventions, on a model that is there already: what a service would have trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hand_made import hand_made, linear
from stock import Stock, add_model

from attractor_client import AttractorForecaster, Client, DataError
from models import TrainedModel
from models.trained import Inputs
from store.blobs import Blobs

DECAY = [0.9, -0.5]


class Trained(Client):
    """A client whose reconstructions are done at once: a model of the test's own."""

    model_id: str
    asked: dict[str, Any]

    def reconstruct(self, series: Any, **options: Any) -> Any:  # type: ignore[override]
        self.asked = {"series": series, **options}
        return self

    def wait(self, *, timeout: float | None = None) -> Any:
        return self.model(self.model_id)


@pytest.fixture
def trained(client: Client, stock: Stock) -> Trained:
    def use(model: TrainedModel) -> None:
        blobs = Blobs(stock.settings.blobs_dir)
        client.model_id = add_model(stock.database, blobs, model, stock.series_id, stock.analysis_id)  # type: ignore[attr-defined]

    client.__class__ = Trained
    client.use = use  # type: ignore[attr-defined]
    use(linear(DECAY, channels=["x", "y"]))
    return client  # type: ignore[return-value]


def rows(n: int = 30) -> np.ndarray:
    return np.array(DECAY) ** np.arange(1, n + 1)[:, None] * [100.0, 1e9]


def after(values: np.ndarray, *steps: int) -> np.ndarray:
    return np.array([values[-1] * np.array(DECAY) ** k for k in steps])


def test_an_array_is_continued(trained: Trained) -> None:
    y = rows()
    forecaster = AttractorForecaster(trained, train={"budget_seconds": 5}, dt=0.1, time_unit="s")
    assert not forecaster.is_fitted
    assert forecaster.fit(y) is forecaster
    np.testing.assert_allclose(forecaster.predict(fh=[1, 3]), after(y, 1, 3))
    np.testing.assert_allclose(forecaster.predict(fh=2), after(y, 2))
    assert forecaster.cutoff == 29
    assert trained.asked["train"] == {"budget_seconds": 5}
    assert (trained.asked["series"].dt, trained.asked["series"].time_unit) == (0.1, "s")
    assert forecaster.model_.id == trained.model_id


def test_a_table_is_continued_with_its_index_and_columns(trained: Trained) -> None:
    index = pd.date_range("2026-01-01", periods=30, freq="h", name="when")
    y = pd.DataFrame(rows(), index=index, columns=["x", "y"])
    forecaster = AttractorForecaster(trained).fit(y, fh=[1, 2, 5])
    expected = pd.DataFrame(after(y.to_numpy(), 1, 2, 5), columns=["x", "y"])
    expected.index = pd.DatetimeIndex([index[-1] + pd.Timedelta(hours=k) for k in (1, 2, 5)], name="when")
    pd.testing.assert_frame_equal(forecaster.predict(), expected, check_index_type=False, check_freq=False)
    assert forecaster.cutoff == index[-1]
    assert (trained.asked["series"].dt, trained.asked["series"].channels) == (3600, ["x", "y"])


@pytest.mark.parametrize(
    ("index", "following"),
    [
        (pd.RangeIndex(30), [30, 32]),
        (pd.Index(0.5 * np.arange(30)), [15.0, 16.0]),
        (pd.period_range("2026-01", periods=30, freq="M"), list(pd.period_range("2028-07", periods=3, freq="M")[::2])),
        (pd.timedelta_range("1s", periods=30, freq="2s"), [pd.Timedelta("61s"), pd.Timedelta("65s")]),
        (
            pd.DatetimeIndex(list(pd.date_range("2026-01-01", periods=30, freq="D"))),
            pd.to_datetime(["2026-01-31", "2026-02-02"]),
        ),
    ],
    ids=["numbers", "floats", "months", "durations", "dates without a frequency"],
)
def test_any_index_is_continued(trained: Trained, index: Any, following: Any) -> None:
    trained.use(linear(DECAY[:1], channels=["v"]))  # type: ignore[attr-defined]
    y = pd.Series(rows()[:, 0], index=index, name="v")
    forecast = AttractorForecaster(trained, dt=1.0).fit(y).predict([1, 3])
    assert list(forecast.index) == list(following)
    assert type(forecast.index) is type(index) or isinstance(index, pd.RangeIndex)
    assert forecast.name == "v"
    np.testing.assert_allclose(forecast.to_numpy(), after(rows()[:, :1], 1, 3)[:, 0])


def test_quantiles_and_one_free_run(trained: Trained) -> None:
    trained.use(linear(DECAY, channels=["x", "y"], residual_std=np.full(2, 0.1)))  # type: ignore[attr-defined]
    forecaster = AttractorForecaster(trained, samples=200).fit(rows())
    bands = forecaster.predict_quantiles([1, 2], alpha=[0.1, 0.9])
    assert list(bands) == [0.1, 0.9]
    assert (bands[0.1] < forecaster.predict([1, 2])).all()
    assert (bands[0.9] > forecaster.predict([1, 2])).all()
    assert list(forecaster.predict_quantiles(1, alpha=0.5)) == [0.5]
    forecaster.set_params(samples=1)
    np.testing.assert_allclose(forecaster.predict([1, 2]), after(rows(), 1, 2))


@pytest.mark.parametrize("named", [True, False])
def test_tables_of_quantiles_and_intervals_are_those_of_sktime(trained: Trained, named: bool) -> None:
    """Columns (variable, alpha) and (variable, coverage, end); a series without a name is the variable 0."""
    trained.use(linear(DECAY, channels=["x", "y"], residual_std=np.full(2, 0.1)))  # type: ignore[attr-defined]
    y = pd.DataFrame(rows(), columns=["x", "y"])
    forecaster = AttractorForecaster(trained, dt=1.0).fit(y)
    bands = forecaster.predict_quantiles([1, 2], alpha=[0.05, 0.95])
    assert list(bands.columns) == [("x", 0.05), ("x", 0.95), ("y", 0.05), ("y", 0.95)]
    assert list(bands.index) == [30, 31]
    found = forecaster.predict_interval([1, 2], coverage=[0.5, 0.9])
    assert list(found.columns[:4]) == [
        ("x", 0.5, "lower"),
        ("x", 0.5, "upper"),
        ("x", 0.9, "lower"),
        ("x", 0.9, "upper"),
    ]
    np.testing.assert_array_equal(found["y", 0.9, "lower"], bands["y", 0.05])
    np.testing.assert_array_equal(found["y", 0.9, "upper"], bands["y", 0.95])
    assert (found["x", 0.5, "upper"] < found["x", 0.9, "upper"]).all()
    trained.use(linear(DECAY[:1], channels=["v"]))  # type: ignore[attr-defined]
    single = AttractorForecaster(trained, dt=1.0).fit(pd.Series(rows()[:, 0], name="v" if named else None))
    assert list(single.predict_quantiles(1, alpha=0.5).columns) == [("v" if named else 0, 0.5)]
    with pytest.raises(ValueError, match="coverage"):
        single.predict_interval(1, coverage=90)


def test_intervals_of_an_array(trained: Trained) -> None:
    trained.use(linear(DECAY, channels=["x", "y"], residual_std=np.full(2, 0.1)))  # type: ignore[attr-defined]
    forecaster = AttractorForecaster(trained).fit(rows())
    lower, upper = forecaster.predict_interval([1, 2])[0.9]
    bands = forecaster.predict_quantiles([1, 2])
    np.testing.assert_array_equal(lower, bands[0.05])
    np.testing.assert_array_equal(upper, bands[0.95])


def test_inputs_drive_it(trained: Trained) -> None:
    inputs = Inputs(["u"], np.zeros(1), np.ones(1), np.array([[1.0]]))
    trained.use(hand_made("plrnn", {"A": [0.5], "W": [[0.0]], "h": [0.0]}, channels=["v"], inputs=inputs))  # type: ignore[attr-defined]
    y, X = pd.Series(rows()[:, 0], name="v"), pd.DataFrame({"u": np.sin(np.arange(30.0))})
    forecaster = AttractorForecaster(trained).fit(y, X)
    assert trained.asked["train"] == {"input_channels": ["u"]}
    assert trained.asked["series"].channels == ["v", "u"]
    last = y.iloc[-1]
    np.testing.assert_allclose(forecaster.predict([1, 2], X=[[1.0], [2.0]]), [last / 2 + 1, last / 4 + 2.5])
    with pytest.raises(DataError, match="driven by u"):
        forecaster.predict([1, 2])


def test_newer_observations_are_gone_on_from(trained: Trained) -> None:
    forecaster = AttractorForecaster(trained).fit(rows())
    newer = rows(40) * 2
    np.testing.assert_allclose(forecaster.update(newer).predict(1), after(newer, 1))
    assert forecaster.cutoff == 69
    with pytest.raises(NotImplementedError):
        forecaster.update(newer, update_params=True)


def test_a_batch_of_one_new_row_is_gone_on_from(trained: Trained) -> None:
    """Three rows of context, of which the newest came alone; a batch that begins earlier replaces what was known."""
    trained.use(linear(DECAY, channels=["v"], lags=[0, 2], mean=np.zeros(1), std=np.ones(1), residual_std=np.zeros(2)))  # type: ignore[attr-defined]
    index = pd.DatetimeIndex(list(pd.date_range("2026-01-01", periods=31, freq="h")))
    y = pd.Series(np.arange(31.0), index=index, name="v")
    forecaster = AttractorForecaster(trained).fit(y[:30]).update(y[30:])
    assert forecaster.cutoff == index[-1]
    np.testing.assert_array_equal(forecaster._context[:, 0], [28, 29, 30])
    assert list(forecaster.predict(1).index) == [index[-1] + pd.Timedelta("1h")]
    assert forecaster.update(y[:20]).cutoff == index[19]
    with pytest.raises(DataError, match="needs 3 rows"):
        forecaster.update(y[:2])


def test_scikit_learn_can_clone_it(trained: Trained) -> None:
    """Its `clone` builds from get_params and insists on getting the same objects back."""
    forecaster = AttractorForecaster(trained, train={"seeds": 2}).fit(rows())
    params = forecaster.get_params(deep=False)
    twin = type(forecaster)(**params)
    assert all(twin.get_params(deep=False)[name] is value for name, value in params.items())
    assert not twin.is_fitted


def test_parameters_as_scikit_learn_has_them(trained: Trained) -> None:
    forecaster = AttractorForecaster(trained, train={"seeds": 2}, samples=7)
    params = forecaster.get_params()
    assert (params["samples"], params["train"], params["client"]) == (7, {"seeds": 2}, trained)
    twin = forecaster.fit(rows()).clone()
    assert twin.get_params() == params
    assert not twin.is_fitted
    assert twin.client is trained
    assert twin.set_params(samples=3).samples == 3
    with pytest.raises(ValueError, match="unknown parameters: nothing"):
        twin.set_params(nothing=1)


@pytest.mark.parametrize("fh", [0, [-1], [1.5], [], [[1]], None])
def test_steps_that_are_none_are_refused(trained: Trained, fh: Any) -> None:
    with pytest.raises(ValueError, match="fh"):
        AttractorForecaster(trained).fit(rows()).predict(fh)


def test_nothing_is_predicted_before_it_is_fitted() -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(y\) first"):
        AttractorForecaster(Client()).predict(1)


def test_an_uneven_index_is_refused(trained: Trained) -> None:
    index = pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-05"])
    with pytest.raises(DataError, match="not evenly spaced"):
        AttractorForecaster(trained).fit(pd.Series([1.0, 2.0, 3.0], index=index))
