"""The page on a service that demands keys, in a real browser; and its reader of event streams."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from typer.testing import CliRunner

from cli.demo.lorenz import as_csv, observed
from cli.demo.service import running_service
from cli.main import app
from domain.keys import new_key

pytestmark = [pytest.mark.browser, pytest.mark.e2e]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """Address, key and data directory of a service that has a key."""
    folder = tmp_path_factory.mktemp("service")
    key = CliRunner().invoke(app, ["keys", "create", "--data-dir", str(folder / "data")]).stdout.strip()
    with running_service(folder / "data", folder / "service.log") as running:
        yield running.url, key, folder / "data"


@pytest.fixture
def page(browser: Browser, service: tuple[str, str, Path]) -> Iterator[Page]:
    """A page that fails the test for any error in its console but refusals."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, base_url=service[0], accept_downloads=True)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console", lambda m: complaints.append(m.text) if m.type == "error" and "status of 4" not in m.text else None
    )
    yield opened
    context.close()
    assert not complaints


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_key_is_asked_for_and_everything_works_with_it(
    page: Page, service: tuple[str, str, Path], tmp_path: Path
) -> None:
    url, key, _ = service
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto("/#series")
    dialog = page.get_by_role("dialog", name="This service needs a key")
    expect(dialog).to_be_visible()
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    sign_in(page, new_key())
    expect(dialog.get_by_role("alert")).to_contain_text("unknown")
    sign_in(page, key[:-1])
    expect(dialog.get_by_role("alert")).to_contain_text("checksum")
    box = dialog.bounding_box()
    assert box is not None
    assert abs(box["x"] + box["width"] / 2 - 550) < 20  # in the middle of the window
    sign_in(page, key)
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("No series yet.")).to_be_visible()

    (tmp_path / "lorenz.csv").write_bytes(as_csv(observed(3000)))
    page.goto("/")
    page.get_by_label("Drop a file here").set_input_files(tmp_path / "lorenz.csv")
    page.get_by_label("Time between steps").fill("0.01")
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("3,000 steps of 3 channels")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    download.value.save_as(tmp_path / "series.csv")
    assert (tmp_path / "series.csv").read_text().count("\n") == 3001
    assert re.fullmatch(r"ser_[0-9a-f]{32}\.csv", download.value.suggested_filename)

    page.get_by_text("Advanced").click()
    training = page.get_by_role("group", name="Train", exact=True)
    training.get_by_label("Budget seconds").fill("2")
    training.get_by_label("Seeds").fill("1")
    page.get_by_role("button", name="Start reconstruction").click()
    streamed = page.wait_for_event("request", lambda request: request.url.endswith("/events"))
    assert streamed.headers["accept"] == "text/event-stream"
    expect(page.locator(".badge", has_text="succeeded")).to_be_visible(timeout=240_000)
    page.get_by_role("link", name="Take it along").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="model.safetensors").click()
    assert download.value.suggested_filename == "model.safetensors"
    assert not [address for address in addresses if key[12:] in address]

    page.reload()  # the key is this tab's
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(dialog).to_be_visible()
    assert page.evaluate("[...Object.keys(sessionStorage), ...Object.keys(localStorage)]") == []
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("needs a key")
    assert key[12:] not in page.content()
    assert httpx.get(f"{url}/v1/series").status_code == 401


def test_a_key_that_was_revoked_is_asked_for_again(page: Page, service: tuple[str, str, Path]) -> None:
    _, key, data_dir = service
    directory = ["--data-dir", str(data_dir)]
    other = CliRunner().invoke(app, ["keys", "create", *directory]).stdout.strip()
    page.goto("/#jobs")
    sign_in(page, other)
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    assert CliRunner().invoke(app, ["keys", "revoke", other[:12], *directory]).exit_code == 0
    page.wait_for_timeout(5_500)  # as long as a process remembers a key
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("was revoked")
    sign_in(page, key)
    expect(page.get_by_role("heading", name="Models")).to_be_visible()


STREAM = (
    ': a comment\r\n\r\nid: 1\r\nevent: status\r\ndata: {"a": 1}\r\n\r\n'
    "data:two\ndata: lines\n\nid:3\nevent:progress\rdata:  spaced\r\rdata\n\nevent: without data\n\nid: 4\ndata: é\n\ndata: cut"
)
EVENTS = [
    {"id": "1", "type": "status", "data": '{"a": 1}'},
    {"id": "1", "type": "message", "data": "two\nlines"},
    {"id": "3", "type": "progress", "data": " spaced"},
    {"id": "3", "type": "message", "data": ""},
    {"id": "4", "type": "message", "data": "é"},
]


def test_event_streams_are_read_as_the_standard_has_it_however_they_are_cut(page: Page) -> None:
    page.goto("/")
    read = """async (pieces) => {
        const { EventParser } = await import("/events.js");
        const parser = new EventParser();
        return pieces.flatMap((piece) => parser.push(piece));
    }"""
    assert page.evaluate(read, [STREAM]) == EVENTS
    assert page.evaluate(read, list(STREAM)) == EVENTS
    for first, second in itertools.combinations(range(0, len(STREAM), 9), 2):
        assert page.evaluate(read, [STREAM[:first], STREAM[first:second], STREAM[second:]]) == EVENTS


def test_a_stream_that_breaks_is_resumed_after_its_last_event(page: Page) -> None:
    asked: list[str | None] = []

    def answer(route) -> None:  # type: ignore[no-untyped-def]
        asked.append(route.request.headers.get("last-event-id"))
        if len(asked) == 3:
            route.fulfill(status=204)
        else:
            body = f"id: {len(asked)}\nevent: status\ndata: {len(asked)}\n\nid: 99\ndata: cut"
            route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route("**/v1/jobs/x/events", answer)
    page.goto("/")
    seen = page.evaluate(
        """async () => {
            const { followEvents } = await import("/events.js");
            const seen = [];
            await new Promise((resolve) => {
                let breaks = 0;
                followEvents("/v1/jobs/x/events", {
                    onEvent: (event) => seen.push(event.data),
                    onBreak: () => { if (++breaks === 2) setTimeout(resolve, 2500); },
                });
            });
            return seen;
        }"""
    )
    assert seen == ["1", "2"]
    assert asked[0] is None
    assert len(asked) == 3
