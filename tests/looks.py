"""Views as people see them: photographed light and dark, on a desk and on a phone, and read by axe-core."""

from __future__ import annotations

import os
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

LOOKS = {"light": (1100, "light"), "dark": (1100, "dark"), "phone-light": (390, "light"), "phone-dark": (390, "dark")}


def photographs(fallback: Path) -> Path:
    """Where pictures are left: SCREENSHOTS, for those who want to look at them."""
    folder = Path(os.environ.get("SCREENSHOTS") or fallback)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def opened(browser: Browser, url: str, look: str) -> tuple[BrowserContext, Page, list[str]]:
    """A page of that look, and what it complains of in its console."""
    width, scheme = LOOKS[look]
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, base_url=url)  # type: ignore[arg-type]
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    return context, page, complaints


def drawn(page: Page) -> None:
    """Scroll through, so that every figure comes into sight; wait until all are there; nothing reaches beyond the window."""
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    busy = page.locator("[aria-busy=true]")
    for _ in range(5):  # figures that arrive push others down: those are met in the next round
        height = page.evaluate("document.documentElement.scrollHeight")
        for y in range(0, height + 800, 800):
            page.evaluate("y => scrollTo(0, y)", y)
            page.wait_for_timeout(30)
        if busy.count() == 0:
            break
        page.wait_for_timeout(500)
    expect(busy).to_have_count(0, timeout=20_000)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(60)
    assert_fits(page)


def assert_fits(page: Page) -> None:
    """Nothing is wider than the window, so that a phone needs no scrolling sideways."""
    page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth", timeout=5_000)


def violations(page: Page) -> list[str]:
    """What axe-core has to say against the page: rule, and the first element of each."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:200]}" for v in found]
