"""The page, driven in a real browser against a real service, as a person would: look, drop, click, wait, read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from cli.demo.lorenz import as_csv, observed
from cli.demo.service import running_service

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

JOB_MILLISECONDS = 240_000


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    with running_service(folder / "data", folder / "service.log") as service:
        yield service.url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A page that fails the test for any error in its console: a script's own, or a breach of the content security policy."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, base_url=url, accept_downloads=True)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    # Refusals that a test provokes are logged by the browser as well; they are shown on the page and checked there.
    opened.on(
        "console", lambda m: complaints.append(m.text) if m.type == "error" and "status of 4" not in m.text else None
    )
    yield opened
    context.close()
    assert not complaints


@pytest.fixture(scope="module")
def lorenz_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "lorenz.csv"
    path.write_bytes(as_csv(observed(4000)))
    return path


def upload(page: Page, path: Path, **fields: str) -> None:
    page.goto("/")
    page.get_by_label("Drop a file here").set_input_files(path)
    for label, text in fields.items():
        page.get_by_label(label.replace("_", " ")).fill(text)
    page.get_by_role("button", name="Upload and check").click()


def start(page: Page, **training: str) -> None:
    page.get_by_text("Advanced").click()
    for label, text in training.items():
        page.get_by_role("group", name="Train", exact=True).get_by_label(label.replace("_", " "), exact=True).fill(text)
    page.get_by_role("button", name="Start reconstruction").click()


def inked(page: Page, nth: int) -> int:
    """Pixels of the n-th canvas that are not transparent."""
    return (
        page.locator("canvas")
        .nth(nth)
        .evaluate(
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v > 0).length"
        )
    )


def assert_drawn(page: Page, *names: str) -> None:
    """Figures that are drawn when they come into sight: each with something in it."""
    for name in names:
        figure = page.locator(f"[data-figure={name}]")
        figure.scroll_into_view_if_needed()
        expect(figure.locator("svg[role=img]").first).to_be_visible()
        drawn = ".line, circle, rect[fill], path[fill]:not(.axis), image"
        assert figure.locator(f"svg[role=img] :is({drawn})").count() > 1 or name == "recurrence"


def assert_fits(page: Page) -> None:
    """Nothing sticks out sideways, once the charts have been drawn anew for the width."""
    page.wait_for_function("() => document.documentElement.scrollWidth <= window.innerWidth", timeout=5_000)


def test_from_a_file_to_a_forecast(page: Page, lorenz_csv: Path, tmp_path: Path) -> None:
    upload(page, lorenz_csv, Time_between_steps="0.01", Unit_of_time="s", Name="A Lorenz series")
    expect(page.get_by_role("heading", name="A Lorenz series")).to_be_visible()
    expect(page.get_by_text("4,000 steps of 3 channels, one every 0.01 s")).to_be_visible()
    expect(page.locator(".paper svg")).to_have_count(3)

    start(page, Budget_seconds="4", Seeds="2")
    expect(page.get_by_role("progressbar", name="Progress of the job")).to_be_visible()
    assert re.search(r"#job_[0-9a-f]{32}$", page.url)
    page.reload()  # the address says which job; nothing is lost
    expect(page.get_by_role("heading", name="In plain words")).to_be_visible(timeout=JOB_MILLISECONDS)
    expect(page.locator(".badge", has_text="succeeded")).to_be_visible()

    expect(page.get_by_text("Largest Lyapunov exponent")).to_be_visible()
    assert min(inked(page, 0), inked(page, 1)) > 1000
    page.locator("canvas").first.scroll_into_view_if_needed()
    before = page.locator("canvas").first.evaluate("c => c.toDataURL()")
    page.locator("canvas").first.press("ArrowLeft")
    page.wait_for_function("before => document.querySelector('canvas').toDataURL() !== before", arg=before)

    page.get_by_role("link", name="The data", exact=True).click()
    assert re.search(r"#mdl_[0-9a-f]{32}/data$", page.url)
    expect(page.get_by_role("region", name="Exponents in 1/s (nats)").get_by_role("row")).to_have_count(4)
    methods = page.get_by_role("region", name="Largest exponent by every method")
    expect(methods.get_by_role("row")).to_have_count(4)
    expect(methods.get_by_text("(trusted)")).to_have_count(1)
    assert_drawn(page, "spectrum", "convergence", "evidence", "methods", "divergence", "recurrence", "sampling")
    picture = page.locator("[data-figure=recurrence] image").get_attribute("href")
    assert picture is not None
    assert picture.startswith("data:image/png")

    page.get_by_role("link", name="The model", exact=True).click()
    measures = page.get_by_role("region", name="Measures on held-out data")
    for name in ("d_stsp", "d_h", "prediction_error"):
        expect(measures.get_by_text(name, exact=True)).to_be_visible()
    assert_drawn(page, "measures", "time-series", "power-spectra", "histograms", "density", "spectrum", "training")

    page.get_by_role("link", name="Forecast", exact=True).click()
    page.get_by_label("Counted in").select_option("steps")
    page.get_by_label("How far").fill("150")
    page.get_by_label("From step").fill("3400")
    page.get_by_role("button", name="Forecast", exact=True).click()
    assert_drawn(page, "forecast")
    forecast = page.locator("[data-figure=forecast]")
    expect(forecast.locator("svg[role=img]")).to_have_count(3)
    expect(forecast.get_by_text("predictability horizon")).to_be_visible()
    expect(forecast.get_by_text("Lyapunov times after the start")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Forecast CSV").click()
    download.value.save_as(tmp_path / "forecast.csv")
    table = np.genfromtxt(tmp_path / "forecast.csv", delimiter=",", names=True)
    assert len(table) == 150
    assert table["time"][0] == pytest.approx(34.0)

    page.get_by_role("link", name="Take it along").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="model.safetensors").click()
    download.value.save_as(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_size > 100
    expect(page.get_by_role("region", name="Figures of the analysis").get_by_role("row")).not_to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("link", name="The attractor and its reconstruction: PNG").click()
    download.value.save_as(tmp_path / "attractor.png")
    assert (tmp_path / "attractor.png").read_bytes().startswith(b"\x89PNG")

    with page.expect_download() as download:
        page.get_by_role("link", name="encoder.onnx").click()
    assert download.value.suggested_filename.endswith("encoder.onnx")

    page.get_by_role("link", name="Models").click()
    page.get_by_text("Import a model from a file").click()
    page.get_by_label("Weights").set_input_files(tmp_path / "model.safetensors")
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("Model imported from a file")).to_be_visible()
    page.go_back()

    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("link", name="Models").click()
    page.get_by_role("region", name="Newest first").get_by_role("link").nth(1).click()  # the imported one is newer
    expect(page.get_by_role("heading", name="A Lorenz series")).to_be_visible()
    for part in ("In short", "The data", "The model", "Forecast", "Take it along"):
        page.get_by_role("link", name=part, exact=True).click()
        expect(page.get_by_role("link", name=part, exact=True)).to_have_attribute("aria-current", "page")
        assert_fits(page)
    page.get_by_role("link", name="Forecast", exact=True).click()
    expect(page.locator("[data-figure=forecast] svg").first).to_be_visible()  # the forecast made before is shown again


def test_a_refused_file_says_what_and_where(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("x,y\n" + "\n".join(f"{i},{i % 7}" for i in range(50)) + "\n51,oops\n")
    upload(page, bad)
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("rows 50")
    expect(problem).to_contain_text("oops")
    expect(problem).to_contain_text("Request req_")
    assert page.url.endswith("/")


def test_a_refused_file_shows_its_bad_cells_and_what_can_be_done(page: Page, tmp_path: Path) -> None:
    rows = [["" if i in (7, 20) else str(i % 7), str(i % 5)] for i in range(300)]
    path = tmp_path / "holes.csv"
    path.write_text("a,b\n" + "\n".join(",".join(row) for row in rows))
    upload(page, path, Time_between_steps="0.1")
    where = page.get_by_role("region", name="Where it is, in holes.csv")
    expect(where.locator("td.bad")).to_have_count(2)
    expect(where.locator("tr", has=page.get_by_role("rowheader", name="7", exact=True)).locator("td.bad")).to_have_text(
        "empty (wrong)"
    )
    expect(where.get_by_role("rowheader", name="8", exact=True)).to_be_visible()  # the neighbours
    page.get_by_role("button", name="Split the series at gaps").click()
    expect(page.get_by_text("3 segments without gaps")).to_be_visible()
    audited = page.get_by_role("region", name="Rows that the audit names")
    expect(audited.locator("td.bad")).to_have_count(2)


def test_a_chosen_file_is_shown_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    """Comma, semicolon with decimal commas, tab, NPY: first rows and curves, with nothing sent."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    values = np.cumsum(np.ones((400, 2)), axis=0) / 4
    files = {
        "comma.csv": "u,v\n" + "\n".join(f"{a},{b}" for a, b in values),
        "german.csv": "u;v\n" + "\n".join(f"{a};{b}".replace(".", ",") for a, b in values),
        "plain.tsv": "# made by hand\n" + "\n".join(f"{a}\t{b}" for a, b in values),
    }
    page.goto("/")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    np.save(tmp_path / "array.npy", values)
    for name in [*files, "array.npy"]:
        page.get_by_label("Drop a file here").or_(page.locator("input[type=file]")).set_input_files(tmp_path / name)
        region = page.get_by_role("region", name=f"The first rows of {name}")
        expect(region.get_by_role("row")).to_have_count(7)
        cells = region.get_by_role("row").nth(3).get_by_role("cell").all_inner_texts()
        assert [cell.replace(",", ".") for cell in cells] == ["0.75", "0.75"]
        expect(page.locator(".preview .paper svg")).to_have_count(2)
    assert "POST" not in sent


def test_every_parameter_is_in_the_drawer_and_errors_stand_beside_their_fields(page: Page, lorenz_csv: Path) -> None:
    upload(page, lorenz_csv, Time_between_steps="0.01", Name="Parameters")
    page.get_by_text("Advanced").click()
    schema = page.request.get("/v1/capabilities").json()["kinds"]
    train = next(k["params_schema"] for k in schema if k["kind"] == "train")
    group = page.get_by_role("group", name="Train", exact=True)
    for name in train["properties"]:
        label = name.replace("_", " ").capitalize()
        expect(group.get_by_label(label, exact=True).or_(group.get_by_role("group", name=label)).first).to_be_visible()
    group.get_by_role("combobox", name="Forcing").select_option("gtf")
    group.get_by_label("Alpha", exact=True).fill("3")
    group.get_by_label("Batch size").fill("many")
    for label, said in (("Alpha", "less than or equal to 1"), ("Batch size", "valid integer")):
        field = group.get_by_label(label, exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        described = (field.get_attribute("aria-describedby") or "").split()
        assert any(said in page.locator(f"#{id}").inner_text() for id in described)
    group.get_by_label("Alpha", exact=True).fill("0.2")
    group.get_by_label("Batch size").fill("")
    expect(page.get_by_text("The service would take it like this.")).to_be_visible()
    expect(page.locator("[aria-invalid]")).to_have_count(0)
    with page.expect_request(lambda r: r.url.endswith("/v1/jobs")) as sent:
        page.get_by_role("button", name="Start reconstruction").click()
    body = sent.value.post_data_json
    assert body is not None
    assert body["params"] == {"train": {"forcing": {"kind": "gtf", "alpha": 0.2}}}  # what was left alone is not sent
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Run it again")).to_be_visible(timeout=30_000)


def test_what_the_audit_did_is_shown_with_its_rows(page: Page, tmp_path: Path) -> None:
    values = np.round(np.sin(np.arange(600) * 0.3)[:, None] * [1, 2], 6).astype(object)
    values[[118, 119], 0] = ""
    path = tmp_path / "gap.csv"
    path.write_text("a,b\n" + "\n".join(",".join(map(str, row)) for row in values))
    page.goto("/")
    page.get_by_label("Drop a file here").set_input_files(path)
    page.get_by_label("Missing values").select_option("interpolate")
    page.get_by_role("button", name="Upload and check").click()
    expect(page.locator(".issue", has_text="118, 119")).to_be_visible()


def test_a_file_can_be_dropped(page: Page) -> None:
    page.goto("/")
    page.locator(".drop").evaluate(
        """drop => {
            const data = new DataTransfer();
            data.items.add(new File(["x\\n1\\n2\\n"], "dropped.csv", {type: "text/csv"}));
            drop.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }"""
    )
    expect(page.get_by_text("dropped.csv (6 B)")).to_be_visible()
    expect(page.get_by_role("button", name="Upload and check")).to_be_enabled()


def test_a_running_job_can_be_canceled_by_keyboard(page: Page, lorenz_csv: Path) -> None:
    upload(page, lorenz_csv, Time_between_steps="0.01", Name="To be canceled")
    start(page, Budget_seconds="600")
    cancel = page.get_by_role("button", name="Cancel")
    expect(page.locator(".badge", has_text="running")).to_be_visible(timeout=30_000)
    cancel.focus()
    page.wait_for_timeout(1500)  # progress goes on; the keyboard's place must stay
    expect(cancel).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".badge", has_text=re.compile("^canceled$"))).to_be_visible(timeout=30_000)
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.locator(".badge", has_text=re.compile("^canceled$")).first).to_be_visible()


def test_samples_are_one_click_away(page: Page) -> None:
    page.goto("/")
    names = [sample["title"] for sample in page.request.get("/v1/samples").json()["data"]]
    expect(page.get_by_role("button", name=re.compile("^Try it: "))).to_have_count(len(names))
    page.get_by_role("button", name="Try it: Lorenz-63").click()
    expect(page.get_by_role("heading", level=1, name="Lorenz-63")).to_be_visible()
    channels = page.get_by_role("region", name="Channels")
    means = [
        float(row.get_by_role("cell").nth(3).inner_text().replace("−", "-"))
        for row in channels.get_by_role("row").all()[1:]
    ]
    assert means[2] == pytest.approx(23.55, abs=0.5)  # <z> of the Lorenz attractor at rho = 28


def test_an_unknown_address_is_explained(page: Page) -> None:
    page.goto("/#job_" + "0" * 32)
    expect(page.get_by_role("alert")).to_contain_text("Not found")
    page.goto("/#nonsense")
    expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system(browser: Browser, url: str, scheme: Literal["light", "dark"]) -> None:
    context = browser.new_context(color_scheme=scheme, base_url=url)
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    red, green, blue = map(
        int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
    )
    assert (red + green + blue > 600) == (scheme == "light")
    context.close()
