"""Weight of the page, time to first useful paint, and a series of a million rows: `python benchmarks/page.py [--repeats 7]`.

Chromium opens the page of a service of its own. Useful is the first page when its form can be used, and a series when its
curves are drawn. The processor is slowed down as well (Chrome's own throttle), since a phone is slower than a desk.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright
from upload import machine

from cli.demo.service import running_service

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ROWS = 1_000_000
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SHOWN = "performance.getEntriesByName('view-shown')[0].startTime"


def weights(browser: Browser, url: str) -> dict[str, Any]:
    """Files and bytes that the first page needs, as they are on the wire."""
    page = browser.new_page()
    sizes: dict[str, int] = {}
    page.on("response", lambda r: sizes.update({r.url.removeprefix(url) or "/": len(r.body())}))
    page.goto(url)
    page.wait_for_load_state("networkidle")
    page.close()
    files = {name: size for name, size in sizes.items() if not name.startswith("/v1/")}
    return {"files": len(files), "bytes": sum(files.values()), "bytes_of_each": dict(sorted(files.items()))}


def first_paint(browser: Browser, url: str, slower: int, repeats: int) -> dict[str, float]:
    """Milliseconds to the first paint and to a form that can be used; every time with an empty cache."""
    paints, shown = [], []
    for _ in range(repeats):
        context = browser.new_context()
        page = _slowed(context.new_page(), slower)
        page.goto(url)
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
        page.get_by_role("button", name="Upload and check").wait_for()
        paints.append(page.evaluate(FIRST_PAINT))
        shown.append(page.evaluate(SHOWN))
        context.close()
    return {"first_paint_ms": _median(paints), "useful_ms": _median(shown)}


def long_series(browser: Browser, url: str, series: str, slower: int, repeats: int) -> dict[str, Any]:
    """A series of a million rows: its first curves, a stretch chosen with the mouse, longest pause of the page meanwhile."""
    first, closer, pauses, kept = [], [], [], ""
    for _ in range(repeats):
        context = browser.new_context(viewport={"width": 1100, "height": 900})
        page = _slowed(context.new_page(), slower)
        page.add_init_script(
            "window.longest = 0; new PerformanceObserver(l => l.getEntries().forEach(e => longest = Math.max(longest, e.duration))).observe({type: 'longtask'})"
        )
        page.goto(f"{url}/#{series}")
        line = page.locator(".paper path.line").first
        line.wait_for()
        first.append(page.evaluate("performance.now()"))
        kept = page.get_by_text("drawn from").inner_text()
        closer.append(_enlarged(page))
        pauses.append(page.evaluate("longest"))
        context.close()
    return {"first_curves_ms": _median(first), "enlarged_ms": _median(closer), "longest_pause_ms": _median(pauses), "said": kept}  # fmt: skip


def _enlarged(page: Page) -> float:
    """Milliseconds from the mouse's release to the curves of the chosen stretch."""
    paper = page.locator(".paper").first
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 50, steps=3)
    page.evaluate(
        """() => { const line = document.querySelector('.paper path.line'); window.enlarged = new Promise(done => {
            const from = performance.now();
            new MutationObserver(() => { if (!line.isConnected && document.querySelector('.paper path.line')) done(performance.now() - from); })
                .observe(document.querySelector('#main'), {childList: true, subtree: true}); }); }"""
    )
    page.mouse.up()
    return float(page.evaluate("window.enlarged"))


def decimated(url: str, series: str, values: np.ndarray, repeats: int) -> dict[str, Any]:
    """What the service needs to thin the whole series, and whether every extreme is among what it kept."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = httpx.get(f"{url}/v1/series/{series}/data?max_points=4900")
        seconds.append(time.perf_counter() - start)
    kept = np.array(answer.json()["values"])
    same = bool((kept.min(0) == values.min(0)).all() and (kept.max(0) == values.max(0)).all())
    return {"ms": _median([1e3 * s for s in seconds]), "bytes": len(answer.content), "rows_kept": len(kept), "extremes_kept": same}  # fmt: skip


def _slowed(page: Page, slower: int) -> Page:
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    return page


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 1)


def million() -> np.ndarray:
    """A noisy walk of three channels with a single spike in each: (ROWS, 3)."""
    random = np.random.default_rng(1)
    values = np.sin(np.arange(ROWS)[:, None] * [0.01, 0.013, 0.017]) + 0.1 * random.standard_normal((ROWS, 3))
    values[[123_456, 654_321, 777_777], [0, 1, 2]] = [9.0, -9.0, 9.0]
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder) / "data", Path(folder) / "log") as service,
    ):
        values = million()
        buffer = io.BytesIO()
        np.save(buffer, values)
        files = {"file": ("million.npy", buffer.getvalue())}
        answer = httpx.post(f"{service.url}/v1/series", files=files, data={"dt": "0.01", "time_unit": "s"}, timeout=300)
        series = answer.raise_for_status().json()["id"]
        found: dict[str, Any] = {"machine": machine(), "repeats": asked.repeats}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
            found["weight"] = weights(browser, service.url)
            for name, slower in (("desk", 1), ("four_times_slower", 4)):
                found[name] = first_paint(browser, service.url, slower, asked.repeats)
                found[name] |= {"million_rows": long_series(browser, service.url, series, slower, asked.repeats)}
            browser.close()
        found["thinning_a_million_rows"] = decimated(service.url, series, values, asked.repeats)
    asked.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k != "weight"}, indent=1))
    print({k: v for k, v in found["weight"].items() if k != "bytes_of_each"})


if __name__ == "__main__":
    main()
