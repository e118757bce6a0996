"""The whole journey, and every view of it as people see it: light and dark, on a desk and on a phone, readable by machines."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from looks import LOOKS, drawn, opened, photographs, violations
from playwright.sync_api import Browser, Page, expect

from cli.demo.lorenz import as_csv, observed
from cli.demo.service import running_service

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

JOB_MILLISECONDS = 240_000


@dataclass(frozen=True)
class Made:
    """What the journey left behind."""

    url: str
    file: Path
    series: str
    job: str
    models: tuple[str, str]
    folder: Path


@pytest.fixture(scope="module")
def made(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A noisy Lorenz file, dropped on the page, reconstructed and forecast; and a second, plainer model to compare with."""
    folder = tmp_path_factory.mktemp("views")
    file = folder / "lorenz.csv"
    file.write_bytes(as_csv(observed(4000)))
    pictures = photographs(folder / "pictures")
    with running_service(folder / "data", folder / "service.log") as service:
        context, page, complaints = opened(browser, service.url, "light")
        series, job = _started(page, file, pictures)
        expect(page.get_by_role("heading", name="In plain words")).to_be_visible(timeout=JOB_MILLISECONDS)
        first = _model_of(service.url, job)
        _forecast(page, first)
        asked = {"kind": "train", "series_id": series, "params": {"hidden_dim": 30, "budget_seconds": 2, "seeds": 1}}  # fmt: skip
        second = httpx.post(f"{service.url}/v1/jobs", json=asked).json()["id"]
        deadline = time.monotonic() + JOB_MILLISECONDS / 1000
        while (ended := httpx.get(f"{service.url}/v1/jobs/{second}?wait=30", timeout=60).json())["finished_at"] is None:
            assert time.monotonic() < deadline
        assert ended["status"] == "succeeded", ended
        context.close()
        assert not complaints
        yield Made(service.url, file, series, job, (first, _model_of(service.url, second)), pictures)


def _started(page: Page, file: Path, pictures: Path) -> tuple[str, str]:
    """Series and job, as a person makes them; photographed on the way, since nobody passes there again."""
    page.goto("/")
    page.get_by_label("Drop a file here").set_input_files(file)
    expect(page.get_by_role("region", name="The first rows of lorenz.csv").get_by_role("row")).to_have_count(7)
    page.get_by_label("Time between steps").fill("0.01")
    page.get_by_label("Unit of time").fill("s")
    page.get_by_label("Name").fill("Noisy Lorenz")
    page.screenshot(path=pictures / "upload-light.png", full_page=True)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("Nothing to complain of")).to_be_visible()
    series = page.url.split("#")[1]
    page.get_by_text("Advanced").click()
    for group, label, value in (
        ("Lyapunov", "Budget seconds", "6"),
        ("Train", "Budget seconds", "4"),
        ("Train", "Seeds", "2"),
    ):
        page.get_by_role("group", name=group, exact=True).get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Start reconstruction").click()
    expect(page.get_by_text("Training loss")).to_be_visible(timeout=JOB_MILLISECONDS)
    seen = int(page.locator(".paper path.line").first.get_attribute("d").count("L"))  # type: ignore[union-attr]
    page.reload()  # the address says which job, and its events are told again
    expect(page.locator(".paper path.line").first.or_(page.get_by_text("In plain words"))).to_be_visible()
    if page.get_by_text("Training loss").is_visible():
        page.screenshot(path=pictures / "running-light.png", full_page=True)
        assert page.locator(".paper path.line").first.get_attribute("d").count("L") >= seen  # type: ignore[union-attr]
    return series, page.url.split("#")[1]


def _forecast(page: Page, model: str) -> None:
    page.goto(f"/#{model}/forecast")
    page.get_by_label("From step").fill("3500")
    page.get_by_label("How far").fill("3")
    page.get_by_role("button", name="Forecast", exact=True).click()
    expect(page.locator("[data-figure=forecast] svg[role=img]")).to_have_count(3)


def _model_of(url: str, job: str) -> str:
    return httpx.get(f"{url}/v1/jobs/{job}").json()["result"]["id"]


def views(made: Made) -> dict[str, tuple[str, list[str]]]:
    """Address of each view, and texts that must be seen on it."""
    one, other = made.models
    return {
        "home": ("", ["What system made this series?", "Drop a file here", "Lorenz-63"]),
        "series": (made.series, ["Noisy Lorenz", "What the audit found", "Steps 0 to 4,000 of 4,000", "Embedding dimension"]),
        "job": (made.job, ["succeeded", "In plain words"]),
        "short": (one, ["An error made now doubles every", "Largest Lyapunov exponent", "Data (held out)"]),
        "data": (f"{one}/data", ["Why this verdict", "Recurrence plot", "How neighbouring states part", "The data against linear noise", "Advice."]),
        "model": (f"{one}/model", ["How good is the reconstruction?", "Power spectra of data and model", "How forecast errors grow", "floor"]),
        "forecast": (f"{one}/forecast", ["Lyapunov times after the start", "5 to 95 % of the ensemble", "predictability horizon"]),
        "files": (f"{one}/files", ["Report (PDF)", "model.safetensors", "Figures for papers and notebooks"]),
        "compare": (f"compare/{one},{other}", ["Settings that differ", "hidden_dim", "d_stsp", "Attractors"]),
        "jobs": ("jobs?kind=train", ["train ", "succeeded"]),
        "models": ("models", ["Compare the ticked models", "clipped-shplrnn"]),
    }  # fmt: skip


@pytest.mark.parametrize("look", LOOKS)
def test_every_view_fits_says_what_it_should_and_is_readable(browser: Browser, made: Made, look: str) -> None:
    context, page, complaints = opened(browser, made.url, look)
    for name, (address, texts) in views(made).items():
        page.goto("about:blank")
        page.goto(f"/#{address}" if address else "/")
        for text in texts:
            expect(page.get_by_text(text).first).to_be_attached()
        drawn(page)
        page.screenshot(path=made.folder / f"{name}-{look}.png", full_page=True)
        if look in ("light", "phone-dark"):  # both colours, both widths
            assert violations(page) == [], f"{name} {look}"
    context.close()
    assert not complaints


def test_models_are_ticked_and_compared(browser: Browser, made: Made) -> None:
    context, page, _ = opened(browser, made.url, "light")
    page.goto("/#models")
    compare = page.get_by_role("button", name="Compare the ticked models")
    boxes = page.get_by_role("checkbox")
    boxes.nth(0).check()
    expect(compare).to_be_disabled()
    boxes.nth(1).check()
    compare.click()
    settings = page.get_by_role("region", name="Settings that differ")
    row = settings.get_by_role("row", name=re.compile("^hidden_dim "))
    expect(row.get_by_role("cell", name="30", exact=True)).to_be_visible()
    expect(settings.get_by_role("row", name=re.compile("^standardize "))).to_have_count(0)  # equal in both
    expect(page.locator("canvas")).to_have_count(3)  # the data and both models
    context.close()


def test_jobs_are_filtered_and_the_filter_is_part_of_the_address(browser: Browser, made: Made) -> None:
    context, page, _ = opened(browser, made.url, "light")
    page.goto("/#jobs")
    rows = page.get_by_role("region", name="Newest first").get_by_role("row")
    expect(rows).to_have_count(3)
    page.get_by_label("Kind").select_option("reconstruct")
    expect(rows).to_have_count(2)
    assert page.url.endswith("#jobs?kind=reconstruct")
    page.reload()
    expect(page.get_by_label("Kind")).to_have_value("reconstruct")
    expect(rows).to_have_count(2)
    page.get_by_label("State").select_option("failed")
    expect(page.get_by_text("No jobs like that.")).to_be_visible()
    context.close()


def test_colours_are_chosen_kept_and_redrawn(browser: Browser, made: Made) -> None:
    context, page, _ = opened(browser, made.url, "dark")
    page.goto(f"/#{made.models[0]}/forecast")
    line = page.locator("[data-figure=forecast] path.line").first
    background = "getComputedStyle(document.body).backgroundColor"
    dark, dark_line = page.evaluate(background), line.get_attribute("stroke")
    page.get_by_role("button", name="Switch to light colours").click()
    page.wait_for_function(f"before => {background} !== before", arg=dark)
    expect(line).not_to_have_attribute("stroke", dark_line or "")
    page.reload()
    expect(page.get_by_role("button", name="Switch to dark colours")).to_be_visible()
    page.get_by_role("button", name="Switch to dark colours").click()
    assert page.evaluate(background) == dark
    assert page.evaluate("Object.keys(localStorage)") == []  # the system's own choice is not kept
    context.close()


def test_a_stretch_is_enlarged_by_mouse_and_by_keyboard(browser: Browser, made: Made) -> None:
    context, page, _ = opened(browser, made.url, "light")
    page.goto(f"/#{made.series}")
    where = page.get_by_text(re.compile(r"^Steps \d"))
    expect(where).to_have_text("Steps 0 to 4,000 of 4,000.")
    paper = page.locator(".paper").first
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 420, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(where).not_to_contain_text("Steps 0 to 4,000")
    first, last = map(int, re.findall(r"\d+", where.inner_text().replace(",", ""))[:2])
    assert 300 < last - first < 1000
    assert 600 < first < 1500
    page.get_by_role("button", name="Farther").press("Enter")
    expect(where).to_contain_text(f"Steps {first - (last - first):,} to")
    page.get_by_role("button", name="Whole series").click()
    expect(where).to_contain_text("Steps 0 to 4,000")
    context.close()
