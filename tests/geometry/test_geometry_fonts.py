"""Class names in scripts that matplotlib's own font lacks, with a font made here."""

from __future__ import annotations

import pytest

from mdistiller_icc.geometry import fonts, pictures
from mdistiller_icc.geometry.distances import Distances

font_manager = pytest.importorskip("matplotlib.font_manager", reason="pictures need matplotlib: the analysis extra")
HIEROGLYPH, OTHER = "\U00013000", "\U00013001"


@pytest.fixture
def own_font(tmp_path, monkeypatch):
    """Give the machine a font that has one hieroglyph, a filled square."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    def install():
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, 900), (900, 900), (900, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs = {".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()}
        made = FontBuilder(1000)
        made.setupGlyphOrder(list(glyphs))
        made.setupCharacterMap({ord(HIEROGLYPH): "square"})
        made.setupGlyf(glyphs)
        made.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
        made.setupHorizontalHeader(ascent=900, descent=-100)
        made.setupNameTable({"familyName": "Of One Hieroglyph", "styleName": "Regular"})
        made.setupOS2()
        made.setupPost()
        made.save(tmp_path / "own.ttf")
        manager = font_manager.fontManager
        monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
        manager.addfont(tmp_path / "own.ttf")

    fonts._tell.cache_clear()
    return install


def bars(tmp_path, name):
    distances = Distances(0.5, 1.0, 0.5, [0.5, 0.6], [1.0, 1.0], [8, 8])
    return pictures.class_bars({"teacher": distances}, (name, "two"), tmp_path / "bars.png").read_bytes()


def test_a_font_of_the_machine_is_taken_where_one_has_the_letters(own_font, tmp_path, capsys):
    assert fonts.families(["zero", "null", "ноль", "μηδέν"]) == ["sans-serif"]
    boxes = bars(tmp_path, HIEROGLYPH)
    assert capsys.readouterr().err == (
        f"pictures: no font on this machine has {HIEROGLYPH}, drawn as boxes; a Noto font may\n"
    )
    own_font()
    assert fonts.families(["zero", HIEROGLYPH]) == ["sans-serif", "Of One Hieroglyph"]
    assert bars(tmp_path, HIEROGLYPH) != boxes
    assert capsys.readouterr().err == ""


def test_what_no_font_has_is_told_once(own_font, tmp_path, capsys):
    for _ in range(2):
        bars(tmp_path, OTHER)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_dollar_sign_is_no_formula(tmp_path):
    assert bars(tmp_path, "$x^{$").startswith(b"\x89PNG")
