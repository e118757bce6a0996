"""Keyset pagination: every row that was there is seen once, whatever arrives meanwhile; a page has a flat price."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text

from domain.errors import BadRequest
from domain.ids import new_id
from store import jobs, pages, results
from store.tables import EvaluationRow, JobRow


def evaluation() -> EvaluationRow:
    return EvaluationRow(id=new_id("evaluation"), model_id="mdl_x", document={})


def test_no_gap_and_no_duplicate_while_rows_arrive_and_go(world) -> None:
    with world.database.write() as session:
        session.add_all(there := [evaluation() for _ in range(23)])
    seen, cursor = [], None
    while True:
        with world.database.read() as session:
            page = results.list_page(session, EvaluationRow, cursor=cursor, limit=5)
        assert len(page.items) <= 5
        seen += [row.id for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        with world.database.write() as session:
            session.add_all([evaluation() for _ in range(3)])
            if len(seen) == 10:
                session.delete(session.get(EvaluationRow, seen[9]))  # the very row that the cursor names
    assert seen == sorted((row.id for row in there), reverse=True)


def test_the_last_page_says_so(world) -> None:
    with world.database.write() as session:
        session.add_all([evaluation() for _ in range(4)])
    with world.database.read() as session:
        assert results.list_page(session, EvaluationRow, limit=4).next_cursor is None
        assert results.list_page(session, EvaluationRow, limit=3).next_cursor is not None
        assert results.list_page(session, EvaluationRow, tenant="nobody").next_cursor is None


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_the_limit_has_limits(world, limit: int) -> None:
    with pytest.raises(BadRequest, match="limit"), world.database.read() as session:
        jobs.list_page(session, limit=limit)


@given(st.text(max_size=80))
def test_no_invented_cursor_is_accepted(cursor: str) -> None:
    with pytest.raises(BadRequest, match="cursor"):
        pages.decode(cursor, "job")


def test_a_cursor_belongs_to_its_list() -> None:
    cursor = pages.encode(last := new_id("job"))
    assert pages.decode(cursor, "job") == last
    for other in (cursor + "=", cursor + "A", cursor[:-1], cursor.swapcase()):
        with pytest.raises(BadRequest):
            pages.decode(other, "job")
    with pytest.raises(BadRequest):
        pages.decode(cursor, "series")


def test_pages_and_lookups_are_served_by_an_index(world, backend: str) -> None:
    """The plans of the queries, so that a list's price does not grow with the table."""
    world.many_have_ended(world.submit(), tenant="another")
    mine = select(JobRow.id).where(JobRow.tenant == "default")
    last = new_id("job")
    newest = [
        mine.where(JobRow.id < last),
        mine.where(JobRow.status == "queued", JobRow.id < last),
        mine.where(JobRow.kind == "train", JobRow.id < last),
    ]
    with world.database.write() as session:
        if backend == "postgresql":
            for way in ("seqscan", "bitmapscan", "sort"):
                session.execute(text(f"SET LOCAL enable_{way} = off"))
        prefix = "EXPLAIN QUERY PLAN " if backend == "sqlite" else "EXPLAIN "
        for query in newest:
            statement = query.order_by(JobRow.id.desc()).limit(51)
            sql = statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
            plan = "\n".join(str(row[-1]) for row in session.execute(text(prefix + str(sql))))
            assert "ix_job_tenant" in plan, plan
            assert "TEMP B-TREE" not in plan, plan
            assert "Sort" not in plan, plan
