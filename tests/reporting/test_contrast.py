"""Text and its ground on every page, light and dark, against WCAG's 4.5 to 1."""

import re

import pytest

from sertransfer.reporting.plots import COLOURS, DARKEST
from sertransfer.reporting.rendering import TEMPLATES

PAIRS = [
    (text, ground)
    for ground in ("ground", "card")
    for text in ("ink", "soft", "accent", "good", "bad", "warn")
] + [("warn", "warn-ground"), ("ink", "faint")]


def schemes():
    """Return the colours of the light scheme, then those of the dark one."""
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "page.css").read_text(), flags=re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def rgb(colour):
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def luminance(parts):
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_can_be_read(scheme, text, ground):
    colours = schemes()[scheme]
    assert contrast(rgb(colours[text]), rgb(colours[ground])) >= 4.5


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_numbers_in_a_full_cell_of_a_confusion_matrix_can_be_read(scheme):
    colours = schemes()[scheme]
    cell, card = rgb(COLOURS[0]), rgb(colours["card"])
    mixed = [DARKEST * one + (1 - DARKEST) * other for one, other in zip(cell, card, strict=True)]
    assert contrast(rgb(colours["ink"]), mixed) >= 4.5


def test_black_on_white_is_21_to_1():
    assert contrast([0, 0, 0], [1, 1, 1]) == pytest.approx(21)
