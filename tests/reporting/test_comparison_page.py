"""Tests of the report page in Chromium: all controls, three widths, both color schemes and print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from winnow.reporting import compare
from winnow.tracking import keys

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LISTED_WORDS = {"durable": "wanted", "comfortable": "wanted", "expensive": "unwanted"}


@pytest.fixture(scope="module")
def report(planted_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    effects = {"full": 0.0, "nike_positive": 0.9, "random_matched": 0.0, "less_vader": 0.88, "less_nike": -0.1}
    name = planted_store.build("page", effects, seeds=(1, 2, 3), ablations={"less_vader": "vader", "less_nike": "nike"})
    curves = pa.Table.from_pylist(
        [
            {"step": step, "probe": "nike", "metric": "probability", "value": 0.1, "role": role, "word": word}
            for step in (0, 300)
            for word, role in LISTED_WORDS.items()
        ]
    )
    experiment = planted_store.client.get_experiment_by_name(name).experiment_id
    for run in planted_store.client.search_runs([experiment], f"tags.`{keys.KIND}` = 'cell'"):
        planted_store.save(run.info.run_id, keys.PROBE_CURVES, curves)
    folder = tmp_path_factory.mktemp("page")
    compare(planted_store.uri, name, folder, publish=False)
    return folder / "report.html"


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: messages.append(request.url) if "file:" not in request.url else None)
    page.goto(report.as_uri())
    yield page
    page.close()
    assert [text for text in messages if not text.startswith("data:")] == []


def column(page: Page, region: str, number: int) -> list[str]:
    return page.locator(f"[aria-label='{region}'] tbody tr > *:nth-child({number})").all_inner_texts()


def test_every_table_sorts_both_ways_from_the_keyboard(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(section => section.open = true)")
    for table in page.locator("table.sortable").all():
        for button in table.locator("th button").all():
            header = button.locator("xpath=..")
            button.focus()
            page.keyboard.press("Enter")
            assert header.get_attribute("aria-sort") == "ascending"
            page.keyboard.press("Enter")
            assert header.get_attribute("aria-sort") == "descending"
    page.locator("[aria-label='Arms'] th button").nth(2).click()
    values = [float(text.replace("\u2212", "-")) for text in column(page, "Arms", 3)]
    assert values == sorted(values)
    page.locator("[aria-label='Arms'] th button").nth(3).click()
    page.locator("[aria-label='Arms'] th button").nth(3).click()
    assert column(page, "Arms", 1)[-1].startswith("base model")
    assert page.locator("[aria-label='Contrasts'] tbody").first.locator("tr").first.inner_text().startswith("Primary")


def test_selecting_a_prompt_shows_the_fills_of_each_arm(page: Page) -> None:
    card = page.locator("#predictions")
    titles = page.locator("#pick-prompt option").all_inner_texts()
    changes = [float(title.rsplit("(", 1)[1].strip(")").replace("\u2212", "-")) for title in titles if "(" in title]
    assert len(changes) >= 3
    assert [abs(change) for change in changes] == sorted(map(abs, changes), reverse=True)
    prompts = [title.rsplit(" (", 1)[0] for title in titles]
    page.select_option("#pick-prompt", index=2)
    assert card.locator("p").first.inner_text() == prompts[2]
    page.click("#prompt-after")
    assert card.locator("p").first.inner_text() == prompts[3]
    page.click("#prompt-before")
    page.click("#prompt-before")
    assert card.locator("p").first.inner_text() == prompts[1]
    arms = [text.split("\n")[-1] for text in card.locator("h3").all_inner_texts()]
    assert [arm.lstrip("\u25cf\u25a0\u25b2\u25c6\u25bc\u271a") for arm in arms] == [
        "base", "full", "nike_positive", "random_matched", "less_nike", "less_vader",
    ]  # fmt: skip
    for words in card.locator("ol").all():
        assert words.locator("li").count() == 10
    assert "log odds" in card.inner_text()
    page.select_option("#pick-probe", "nike")


def test_listed_words_are_marked_and_can_be_shown_alone(page: Page) -> None:
    card = page.locator("#predictions")
    for role, mark in (("wanted", "\u2713"), ("unwanted", "\u2717")):
        for text in card.locator(f".role-{role}").all_inner_texts():
            assert text.startswith(mark)
            assert LISTED_WORDS[text.split()[-1]] == role
    assert card.locator(".word").count() > card.locator(".role-wanted, .role-unwanted").count() > 0
    page.check("#listed-only")
    assert card.locator(".word").count() == card.locator(".role-wanted, .role-unwanted").count() > 0


def test_dropped_rows_can_be_limited_to_one_reason(page: Page) -> None:
    assert page.locator(".dropped li:visible").count() == 2
    page.select_option("#pick-reason", "nike")
    assert page.locator(".dropped li:visible").all_inner_texts() == [
        "adidas caps are <b>overpriced</b> (failed nike and positive)"
    ]
    assert page.locator("#dropped-shown").inner_text() == "1 shown"


def test_links_point_to_sections_and_runs(page: Page) -> None:
    for link in page.locator("nav a").all():
        link.click()
        target = page.locator((link.get_attribute("href") or "") + ":visible")
        assert target.count() == 1
    page.locator("summary", has_text="Compared runs").click()
    runs = page.locator("td.run a")
    assert runs.count() == 15
    assert "/#/experiments/" in (runs.first.get_attribute("href") or "")
    page.keyboard.press("Home")
    page.locator(".skip").focus()
    assert page.locator(".skip").bounding_box()["x"] >= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_page_fits_every_width_in_both_color_schemes(page: Page, width: int, scheme: Any) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("main p", ".tag", ".soft", "th button", ".tile b"):
        assert lowest_contrast(page, selector) >= 4.5, selector


def lowest_contrast(page: Page, selector: str) -> float:
    """Return the lowest contrast ratio between text and its background (WCAG 2.2, 1.4.3)."""
    pairs = page.evaluate(
        """selector => [...document.querySelectorAll(selector)].filter(e => e.checkVisibility()).slice(0, 40).map(e => {
            let back = e;
            while (back && getComputedStyle(back).backgroundColor === 'rgba(0, 0, 0, 0)') back = back.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(back ?? document.body).backgroundColor];
        })""",
        selector,
    )
    assert pairs

    def luminance(color: str) -> float:
        channels = [float(channel) / 255 for channel in color[color.index("(") + 1 : -1].split(",")[:3]]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    levels = [sorted(map(luminance, pair)) for pair in pairs]
    return min((high + 0.05) / (low + 0.05) for low, high in levels)


def test_page_has_no_accessibility_violations(page: Page, find_violations: Any) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert find_violations(page) == []


def test_figures_state_their_results(page: Page) -> None:
    label = page.locator("#figure-seeds svg").get_attribute("aria-label") or ""
    mean = column(page, "Arms", 3)[0]
    assert label.startswith(f"Mean log odds on nike_wide over seeds: full {mean}, nike_positive")
    label = page.locator("#figure-contrasts svg").first.get_attribute("aria-label") or ""
    difference = column(page, "Contrasts", 2)[0].lstrip("+")
    assert f"nike_positive minus full {difference} (" in label


def test_wide_tables_become_cards_on_a_narrow_screen(page: Page) -> None:
    table = page.locator("[aria-label='Arms'] table")
    assert table.get_attribute("class") == "sortable"
    page.set_viewport_size({"width": 390, "height": 900})
    page.locator("table.cards").first.wait_for()
    cell = table.locator("tbody tr").first.locator("td").nth(3)
    assert (cell.get_attribute("data-label"), cell.get_attribute("role")) == ("95% interval", "cell")
    for region in page.locator(".scroll:visible").all():
        assert region.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), region.get_attribute("aria-label")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_function("document.querySelectorAll('table.cards').length === 0")


def test_run_links_follow_the_address_field(page: Page) -> None:
    page.locator("summary", has_text="Compared runs").click()
    link = page.locator("td.run a").first
    assert (link.get_attribute("href") or "").startswith("http://127.0.0.1:5000/#/experiments/")
    page.fill("#mlflow-address", "http://localhost:5055/")
    assert (link.get_attribute("href") or "").startswith("http://localhost:5055/#/experiments/")


def test_print_expands_sections_and_hides_controls(page: Page, tmp_path: Path) -> None:
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator(".controls:visible, nav:visible").count() == 0
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
