"""Collections, inputs and nuisance on the page: recordings, a map for each, series beside a series, photographed in both colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from looks import LOOKS, drawn, opened, photographs, violations
from playwright.sync_api import Browser, expect

from attractor_client import Client
from cli.demo.service import running_service
from systems import driven_linear

pytestmark = [pytest.mark.browser, pytest.mark.e2e]
QUICK = {"lyapunov": {"budget_seconds": 3}}
N = 700


@dataclass(frozen=True)
class Made:
    client: Client
    url: str
    series: dict[str, str]
    family: str
    driven: str
    folder: Path


def henon(a: float, n_steps: int) -> np.ndarray:
    rows, x, y = [], 0.1, 0.1
    for _ in range(n_steps + 50):
        x, y = 1 - a * x * x + y, 0.3 * x
        rows.append((x, y))
    return np.array(rows[50:])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A collection of thirty recordings and a family of maps of it; a driven, contaminated series with what belongs to it."""
    folder = tmp_path_factory.mktemp("recordings")
    x, push = driven_linear(N, 5)
    breath = np.random.default_rng(1).standard_normal((N, 1))
    sampling = {"dt": 0.5, "time_unit": "s"}
    with running_service(folder / "data", folder / "service.log") as service, Client(service.url) as client:
        subjects = {f"subject {k:02}": henon(1.1 + 0.01 * k, 100) for k in range(30)}
        many = client.upload(subjects, channels=["x", "y"], name="Thirty subjects")
        seen = client.upload(x + breath * [0.8, -0.5], channels=["x", "y"], name="Pendulum", **sampling)
        pushed = client.upload(push, channels=["push"], name="The push", **sampling)
        breathed = client.upload(breath, channels=["breath"], name="Breathing", **sampling)
        training = {"updates": 500, "seeds": 1, "hidden_dim": 10}
        family = client.reconstruct(many, train=training | {"recording_dim": 1, "test_fraction": 0.2}, **QUICK)
        driven = client.reconstruct(seen, train=training, input_series=pushed, nuisance_series=breathed, **QUICK)
        ids = {"many": many.id, "seen": seen.id, "pushed": pushed.id, "breathed": breathed.id}
        yield Made(client, service.url, ids, family.wait().id, driven.wait().id, photographs(folder / "pictures"))


@pytest.mark.parametrize("look", ["light", "phone-dark"])
def test_every_view_says_what_it_should(browser: Browser, made: Made, look: str) -> None:
    assert look in LOOKS
    views = {
        "recordings": (made.series["many"], ["in 30 recordings", "Recordings, the first 20 of 30", "subject 07"]),
        "family": (f"{made.family}/model", ["Recording by recording", "A map for each recording", "Vectors, the first 20 of 30"]),
        "family-forecast": (f"{made.family}/forecast", ["From the end of", "With the map of"]),
        "beside": (made.series["seen"], ["Inputs and nuisance from other series", "The push", "Breathing"]),
        "driven": (f"{made.driven}/model", ["Driven by push (push of this series).", "Nuisance subtracted: breath (breath of this series)."]),
        "driven-forecast": (f"{made.driven}/forecast", ["Inputs: push", "Nuisance: breath", "or else their mean"]),
    }  # fmt: skip
    context, page, complaints = opened(browser, made.url, look)
    for name, (address, texts) in views.items():
        page.goto("about:blank")
        page.goto(f"/#{address}")
        for text in texts:
            expect(page.get_by_text(text).first).to_be_attached()
        drawn(page)
        page.screenshot(path=made.folder / f"{name}-{look}.png", full_page=True)
        assert violations(page) == [], f"{name} {look}"
    context.close()
    assert not complaints


def test_more_recordings_are_shown_when_asked(browser: Browser, made: Made) -> None:
    context, page, _ = opened(browser, made.url, "light")
    page.goto(f"/#{made.series['many']}")
    expect(page.get_by_text("subject 29")).to_have_count(0)
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_role("cell", name="subject 29")).to_be_visible()
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    context.close()


def test_series_beside_one_are_chosen_and_sent(browser: Browser, made: Made) -> None:
    context, page, _ = opened(browser, made.url, "light")
    page.goto(f"/#{made.series['seen']}")
    page.get_by_text("Inputs and nuisance from other series").click()
    page.get_by_label("The push").select_option("inputs")
    page.get_by_label("Breathing").select_option("nuisance")
    with page.expect_request(lambda r: r.method == "POST" and r.url.endswith("/v1/jobs")) as sent:
        page.get_by_role("button", name="Start reconstruction").click()
    asked = sent.value.post_data_json
    assert asked["input_series"] == [{"series_id": made.series["pushed"]}]
    assert asked["nuisance_series"] == [{"series_id": made.series["breathed"]}]
    page.wait_for_url("**/#job_*")
    made.client.job(page.url.split("#")[1]).cancel()
    context.close()


def test_forecasts_choose_recording_and_map_and_take_nuisance(browser: Browser, made: Made) -> None:
    context, page, _ = opened(browser, made.url, "light")
    page.goto(f"/#{made.family}/forecast")
    page.get_by_label("Counted in").select_option("horizon_steps")
    page.get_by_label("How far").fill("5")
    page.get_by_label("From the end of").select_option("subject 03")
    page.get_by_label("With the map of").select_option("subject 25")
    with page.expect_request("**/forecasts") as sent:
        page.get_by_role("button", name="Forecast", exact=True).click()
    assert sent.value.post_data_json == {"horizon_steps": 5, "start_index": 400, "recording": "subject 25"}
    expect(page.locator("[data-figure=forecast] svg[role=img]").first).to_be_visible()

    page.goto("about:blank")
    page.goto(f"/#{made.driven}/forecast")
    page.get_by_label("Counted in").select_option("horizon_steps")
    page.get_by_label("How far").fill("2")
    page.get_by_label("Inputs: push").fill("0.1\n0.2")
    page.get_by_label("Nuisance: breath").fill("breath\n0.5\nx")
    page.get_by_role("button", name="Forecast", exact=True).click()
    expect(page.get_by_text("Row 2 has “x” for breath")).to_be_visible()
    page.get_by_label("Nuisance: breath").fill("breath\n0.5\n-0.5")
    with page.expect_request("**/forecasts") as sent:
        page.get_by_role("button", name="Forecast", exact=True).click()
    asked = sent.value.post_data_json
    assert (asked["inputs"], asked["nuisance"]) == ([[0.1], [0.2]], [[0.5], [-0.5]])
    expect(page.locator("[data-figure=forecast] svg[role=img]").first).to_be_visible()
    context.close()
