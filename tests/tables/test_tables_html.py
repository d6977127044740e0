from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from mdistiller_icc.errors import UserError
from mdistiller_icc.tables import render
from tests.tables.conftest import NASTY

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Page(HTMLParser):
    """Checks that what must be closed is closed, and gathers what refers to elsewhere."""

    OPEN = {"th", "td", "tr", "li", "thead", "tbody", "meta", "img", "rect", "line", "circle", "input", "option"}

    def __init__(self):
        super().__init__()
        self.stack, self.links, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for key, value in attributes if key in ("src", "href")]
        if tag not in self.OPEN:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.OPEN:
            assert self.stack.pop() == tag


def page(html: str) -> Page:
    parsed = Page()
    parsed.feed(html)
    assert parsed.stack == []
    return parsed


def test_html_lets_a_reader_choose_methods_and_pairs(study):
    html = render([study.root], "html")
    assert re.findall(r'data-filter="(\w+)"', html) == ["methods", "pairs"]
    assert '<option value="DKD">' in html and '<option value="vgg13 → vgg8">' in html
    students = re.findall(r'<th[^>]*data-pair="([^"]+)"', html)
    assert students.count("vgg13 → vgg8") == 4  # over ours and published, on each of them, and over the gains


def test_sheets_of_a_detectors_figures_are_known_by_their_pair(output):
    figures = {name: {"last": 30.0} for name in ("box_ap", "box_ap50")}
    pairs = [("fpn_101", "fpn_18"), ("fpn_101", "fpn_mobile")]
    for pair in pairs:
        output.run(dataset="coco", pair=pair, **figures)
    output.run(method="NONE", dataset="coco", role="teacher", pair=("fpn_101", ""), **figures)
    labels = re.findall(r"\\label\{(.+?)\}", render([output.root], "latex"))
    assert labels == [
        "tab:coco:students", "tab:coco:networks", "tab:coco:networks:fpn-101", "tab:coco:students:fpn-101-fpn-18",
        "tab:coco:students:fpn-101-fpn-mobile",
    ]  # fmt: skip
    html = render([output.root], "html")
    told = re.findall(r'<figure class="sheet (\w+)">.*?<b>Every figure: (.*?)\.</b>(.*?)</figure>', html)
    assert [(kind, pair, set(re.findall(r'data-pair="(.*?)"', sheet))) for kind, pair, sheet in told] == [
        ("networks", "fpn_101", {"fpn_101"}), ("students", "fpn_101 → fpn_18", {"fpn_101 → fpn_18"}),
        ("students", "fpn_101 → fpn_mobile", {"fpn_101 → fpn_mobile"}),
    ]  # fmt: skip


def test_html_is_one_page_that_needs_nothing_else(study):
    (study.root / "geometry").mkdir()
    (study.root / "geometry" / "tsne.png").write_bytes(PNG)
    study.run(method=NASTY, pair=(NASTY, NASTY))
    html = render([study.root], "html")
    parsed = page(html)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in parsed.links)
    assert parsed.tags.count("img") == 1 and base64.b64encode(PNG).decode() in html
    assert parsed.tags.count("script") == 1 and "alert(1)</script>" not in html
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert "not published here" in html and 'aria-sort="none"' in html and "Left out (1)" in html


def test_html_draws_a_curve_for_every_row(study):
    html = render([study.root], "html")
    # two pairs of two methods from two teachers, one student alone, one architecture of two recipes
    assert html.count("<polyline") == 2 * 2 * 2 + 1 + 2
    assert html.count('class="chart"') == 2 * 2 + 1 + 1


def test_html_does_without_curves_and_passes_over_damaged_lines(output):
    whole, torn, none = (output.run(seed=seed, top1=70.0 + seed) for seed in range(3))
    (torn / "metrics.jsonl").write_bytes(b'{"epoch": 1, "test_top1": 50.0}\n\xff\n[]\n{"epoch": 2, "test_t')
    (none / "metrics.jsonl").unlink()
    assert page(render([output.root], "html")).tags.count("polyline") == 1
    (whole / "metrics.jsonl").unlink()
    (torn / "metrics.jsonl").unlink()
    assert "<polyline" not in render([output.root], "html")


@pytest.mark.parametrize("epoch", ["0", "-1", "1e999", "NaN", "true", "1.5", '"1"', "null"])
def test_html_draws_no_epoch_that_is_none(output, epoch):
    run = output.run()
    for top1 in ("5.0", "1" + "0" * 400, "NaN"):
        (run / "metrics.jsonl").write_text(f'{{"epoch": {epoch}, "test_top1": {top1}}}\n' * 2)
        assert "<polyline" not in render([output.root], "html")
    (run / "metrics.jsonl").write_text('{"epoch": 1, "test_top1": 1' + "0" * 400 + "}\n")
    assert "<polyline" not in render([output.root], "html")


def test_pictures_are_checked(output, tmp_path):
    output.run()
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match="text.png: is not a PNG"):
        render([output.root], "html", pictures=[tmp_path / "text.png"])
    with pytest.raises(UserError, match="none.png: no such picture"):
        render([output.root], "html", pictures=[tmp_path / "none.png"])
