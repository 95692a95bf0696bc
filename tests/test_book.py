"""The book as a reader's browser sees it: built offline from the committed notebooks, complete, quiet and legible.

Skipped without Sphinx (`pip install -e .[book]`), and the browser's part without a Chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).parents[1]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGES = (
    "index.html",
    "claims/index.html",
    "claims/pave.prop2.bound.html",
    "api.html",
    "results.html",
    "explorers.html",
)
NOTEBOOKS = sorted(path.stem for path in (PROJECT / "notebooks").glob("*.ipynb"))

pytest.importorskip("sphinx_book_theme", reason="the book needs the extra `book`: pip install -e .[book]")


def build(folder: Path, pages: Path | None = None) -> tuple[Path, str]:
    """The built book and what the build had to say."""
    source, html = folder / "source", folder / "html"
    if pages is None:
        subprocess.run([sys.executable, PROJECT / "docs/assemble.py", source], check=True, cwd=PROJECT)
    else:
        shutil.copytree(pages, source)
    arguments = ["-q", "-b", "html", "-c", PROJECT / "docs", "-d", folder / "doctrees", source, html]
    done = subprocess.run([sys.executable, "-m", "sphinx", *arguments], check=True, capture_output=True, text=True)
    return html, done.stderr


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return build(tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium on this machine (chromium, chromium-browser or google-chrome)")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visit:
    """A page with what went wrong while it loaded."""

    def __init__(self, browser, file: Path, width: int = 1280):
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.troubles: list[str] = []
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url}"))
        self.page.on("request", self._note_other_hosts)
        self.page.goto(file.as_uri(), timeout=120_000)

    def _note_other_hosts(self, request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.troubles.append(f"another host: {request.url}")


def test_the_build_has_nothing_to_say(book):
    assert book[1] == ""


def test_every_notebook_and_every_claim_has_a_page(book):
    from paperlib.repro.claims import load_claims

    pages = {str(path.relative_to(book[0])) for path in book[0].rglob("*.html")}
    assert pages >= {f"notebooks/{name}.html" for name in NOTEBOOKS} | set(PAGES)
    assert pages >= {f"claims/{claim}.html" for claim in load_claims()}


def test_links_inside_the_book_lead_somewhere(book):
    broken = []
    for page in set(book[0].rglob("*.html")) - set((book[0] / "_static").rglob("*.html")):
        for target in re.findall(r'href="([^"#?]+)["#?]', page.read_text()):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(book[0])}: {target}")
    assert not broken


def test_a_broken_link_and_a_bad_formula_would_be_seen(tmp_path, browser):
    source = tmp_path / "pages"
    source.mkdir()
    (source / "index.md").write_text("# A page\n\n[nowhere](missing.md)\n\n$\\frac{1}$ and $x$\n")
    html, said = build(tmp_path, source)
    assert "missing" in said
    page = Visit(browser, html / "index.html").page
    page.wait_for_selector("mjx-container")
    assert page.locator("mjx-merror").count() == 1


@pytest.mark.parametrize("name", [*PAGES, *(f"notebooks/{name}.html" for name in NOTEBOOKS)])
def test_a_page_loads_quietly_and_fits_a_phone(book, browser, name):
    visit = Visit(browser, book[0] / name, width=390)
    if name.startswith("notebooks/"):
        visit.page.wait_for_function("!document.querySelector('.math') || document.querySelector('mjx-container')")
    assert not visit.troubles
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert visit.page.locator("mjx-merror").count() == 0
    without = visit.page.locator("article img:not([alt]), article img[alt='']").count()
    assert without == 0


def test_the_table_of_claims_filters_and_sorts(book, browser):
    page = Visit(browser, book[0] / "claims/index.html").page
    rows, shown = page.locator("table.claims tbody tr"), page.locator("table.claims tbody tr:visible")
    total = rows.count()
    page.fill("#claims-text", "prop2")
    assert 0 < shown.count() < total
    words = "`${row.textContent} ${row.dataset.words}`.toLowerCase().includes('prop2')"
    assert page.evaluate(
        f"[...document.querySelectorAll('table.claims tbody tr:not([hidden])')].every((row) => {words})"
    )
    page.fill("#claims-text", "")
    page.select_option("#claims-verdict", "does not hold")
    assert 0 < shown.count() < total
    assert all("does not hold" in row for row in shown.all_text_contents())
    page.select_option("#claims-verdict", "")
    page.click("table.claims th >> nth=0")
    first = page.locator("table.claims tbody tr td:first-child").all_text_contents()
    assert first == sorted(first)


def test_the_search_finds_a_theorem(book, browser):
    page = Visit(browser, book[0] / "search.html").page
    page.goto((book[0] / "search.html").as_uri() + "?q=Theorem+3", timeout=120_000)
    page.wait_for_selector("#search-results li a", timeout=60_000)
    found = page.locator("#search-results li a").all_text_contents()
    assert any("12" in title or "gradient" in title.lower() for title in found)


def test_the_explorers_rules_are_the_librarys(book, browser):
    from paperlib.lipschitz import improvement_bound, mss_mlc, sss_mlc, sss_slc

    page = Visit(browser, book[0] / "explorers.html").page
    rng = np.random.default_rng(0)
    gradients, constants = rng.standard_normal((50, 2)), rng.uniform(0.05, 3.0, (50, 2))
    for name, rule in {"SSS-SLC": sss_slc, "SSS-MLC": sss_mlc, "MSS-MLC": mss_mlc}.items():
        ours = rule(gradients, constants)
        values = f"{{ const r = RULES['{name}'](g, ls[i]); return [...r.update, r.guarantee]; }}"
        script = f"([gs, ls]) => gs.map((g, i) => {values})"
        theirs = np.array(page.evaluate(script, [gradients.tolist(), constants.tolist()]))
        assert theirs[:, :2] == pytest.approx(ours.update, rel=1e-9, abs=1e-12)
        assert theirs[:, 2] == pytest.approx(ours.guaranteed_improvement, rel=1e-9)
    script = "([gs, ls]) => gs.map((g, i) => bound(g, ls[i], g))"
    at_gradient = page.evaluate(script, [gradients.tolist(), constants.tolist()])
    assert at_gradient == pytest.approx(improvement_bound(gradients, constants, gradients))


def test_an_explorer_answers_to_its_sliders(book, browser):
    page = Visit(browser, book[0] / "explorers.html").page
    before = page.text_content("#bound-text")
    page.fill("#bound-mu", "0.5")
    assert "slope 2.00" in page.text_content("#bound-text") != before
