"""Series and results: found by content, by id, by page; deleted only when no job reads them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from domain.errors import DomainError, InUse, InvalidParameters, NotFound, UnknownChannel
from domain.ids import new_id
from store import jobs, leases, results, series
from store.tables import AnalysisRow, ArtifactRow, EvaluationRow, ForecastRow, ModelRow


def test_the_same_upload_is_the_same_series(world) -> None:
    first = world.series(name="lorenz")
    with world.database.write() as session:
        again = world.add_series(session, name="lorenz")
        assert (again.row.id, again.created) == (first.id, False)
        assert world.add_series(session, name="other").created
        assert world.add_series(session, name="lorenz", tenant="other").created
        assert world.add_series(session, np.ones((4, 2)), name="lorenz").created
    assert len(list(world.blobs.names())) == 2


def test_equal_uploads_at_once_make_one_row(world) -> None:
    start = threading.Barrier(6)

    def upload(_: int) -> tuple[str, bool]:
        start.wait(10)
        with world.database.write() as session:
            added = world.add_series(session, name="x")
            return added.row.id, added.created

    with ThreadPoolExecutor(6) as pool:
        added = list(pool.map(upload, range(6)))
    assert len({row_id for row_id, _ in added}) == 1
    assert sum(created for _, created in added) == 1


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\ud800"])
def test_a_name_is_text(world, name: str) -> None:
    with pytest.raises((InvalidParameters, ValueError)):
        world.series(name=name)


def test_values_come_back_as_they_were(world) -> None:
    values = np.random.default_rng(0).normal(size=(50, 4))
    row = world.series(values)
    np.testing.assert_array_equal(series.load_values(world.blobs, row), values)
    [(start, loaded)] = series.load_segments(world.blobs, row)
    assert start == 0
    assert loaded.dtype == np.float64
    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable
    np.testing.assert_array_equal(loaded, values)


def test_segments_leave_gaps_out_and_channels_come_in_the_order_asked(world) -> None:
    values = np.arange(30.0).reshape(10, 3)
    values[[0, 4, 5]] = np.nan
    row = world.series(values)
    segments = series.load_segments(world.blobs, row, ["x2", "x0"])
    assert [(start, len(part)) for start, part in segments] == [(1, 3), (6, 4)]
    for start, part in segments:
        np.testing.assert_array_equal(part, values[start : start + len(part)][:, [2, 0]])


def test_an_unknown_channel_is_named(world) -> None:
    row = world.series()
    with pytest.raises(UnknownChannel, match=r"no channel 'y'; it has x0, x1, x2"):
        series.load_segments(world.blobs, row, ["x0", "y"])


def test_a_series_that_a_job_reads_cannot_be_deleted(world, make_analysis) -> None:
    row = world.series()
    job_id = world.submit(row.id)
    with pytest.raises(InUse, match=job_id), world.database.write() as session:
        series.delete(session, row.id)
    lease = world.claim(job_id)
    with world.database.write() as session:
        leases.finish(session, lease, result := make_analysis(row.id))
    with world.database.write() as session:
        series.delete(session, row.id)
    with world.database.read() as session:
        with pytest.raises(NotFound):
            series.get(session, row.id)
        assert results.get(session, AnalysisRow, result.id).series_id == row.id, "what was found in it stays"
        assert jobs.get(session, job_id).series_id == row.id
    with pytest.raises(NotFound), world.database.write() as session:
        series.delete(session, row.id)


def test_another_tenants_series_cannot_be_seen_or_deleted(world) -> None:
    row = world.series(tenant="other")
    with world.database.write() as session:
        with pytest.raises(NotFound):
            series.get(session, row.id)
        with pytest.raises(NotFound):
            series.delete(session, row.id)
        assert series.list_page(session).items == []
        assert [found.id for found in series.list_page(session, tenant="other").items] == [row.id]


def test_deleting_meets_submitting(world) -> None:
    """Either the job is there and the series stays, or the series is gone and the job is refused."""
    for n in range(10):
        row = world.series(np.full((3, 1), float(n)))
        start = threading.Barrier(2)

        def attempt(action, start=start) -> bool:  # type: ignore[no-untyped-def]
            start.wait(10)
            try:
                action()
            except DomainError:
                return False
            return True

        def delete(row=row) -> None:  # type: ignore[no-untyped-def]
            with world.database.write() as session:
                series.delete(session, row.id)

        with ThreadPoolExecutor(2) as pool:
            deleted = pool.submit(attempt, delete)
            submitted = pool.submit(attempt, lambda row=row: world.submit(row.id))
        assert deleted.result() != submitted.result()


def test_results_are_listed_by_what_they_came_from(world) -> None:
    one, two = new_id("series"), new_id("series")
    model = ModelRow(id=new_id("model"), series_id=one, document={})
    forecasts = [ForecastRow(id=new_id("forecast"), series_id=s, model_id=model.id, document={}) for s in (one, two)]
    evaluation = EvaluationRow(id=new_id("evaluation"), model_id=new_id("model"), document={})
    with world.database.write() as session:
        session.add_all([model, *forecasts, evaluation])
    with world.database.read() as session:
        assert [row.id for row in results.list_page(session, ModelRow, series_id=one).items] == [model.id]
        assert results.list_page(session, ModelRow, series_id=two).items == []
        assert len(results.list_page(session, ForecastRow, model_id=model.id).items) == 2
        assert results.list_page(session, EvaluationRow, model_id=model.id).items == []
        assert results.list_page(session, ForecastRow, tenant="other").items == []
        with pytest.raises(NotFound, match="no model"):
            results.get(session, ModelRow, model.id, tenant="other")


def test_the_newest_analysis_of_the_same_channels(world) -> None:
    source = new_id("series")

    def row(channels: list[str]) -> AnalysisRow:
        key = results.channels_hash(channels)
        return AnalysisRow(id=new_id("analysis"), series_id=source, channels=channels, channels_hash=key, document={})

    rows = []
    for channels in (["x", "y"], ["x", "y"], ["x"], ["y", "x"]):
        rows.append(row(channels))
        with world.database.write() as session:
            session.add(rows[-1])
    newest = max(rows[0].id, rows[1].id)
    with world.database.read() as session:
        assert results.analysis_of(session, source, ["x", "y"]).id == newest
        assert results.analysis_of(session, source, ["z"]) is None
        assert results.analysis_of(session, source, ["x", "y"], tenant="other") is None


def test_a_model_has_files(world) -> None:
    model = ModelRow(id=new_id("model"), document={})
    names = ("model.safetensors", "card.json")
    with world.database.write() as session:
        session.add(model)
        session.flush()
        session.add_all(
            [ArtifactRow(model_id=model.id, name=n, media_type="a/b", sha256="0" * 64, n_bytes=2**33) for n in names]
        )
    with world.database.read() as session:
        assert [row.name for row in results.artifacts(session, model.id)] == sorted(names)
        assert results.artifact(session, model.id, "card.json").n_bytes == 2**33
        with pytest.raises(NotFound, match="no artifact"):
            results.artifact(session, model.id, "model.pt")


def test_a_forecast_without_a_job_is_kept(world) -> None:
    row = ForecastRow(id=new_id("forecast"), model_id=new_id("model"), document={"horizon_steps": 5})
    with world.database.write() as session:
        results.save_forecast(session, row, tenant="t")
    with world.database.read() as session:
        assert results.get(session, ForecastRow, row.id, tenant="t").document == {"horizon_steps": 5}
