"""Every page in headless Chromium: desktop and phone, light and dark, printed, and without its script."""

import io
import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.browser import PROGRAM, Browser
from support.report_runs import STAGE_1, STAGE_2, SUBJECTS, make_run

from sertransfer.cli.main import main
from sertransfer.reporting.prediction_page import write_prediction_page
from sertransfer.reporting.report import write_report

EVIL = "<img src=x onerror=\"document.title='run'\"></td><script>document.title='run'</script>"
LONG = "a_name_that_is_long_and_has_no_place_to_break_" * 4

PREDICTION = {
    "generated": True, "sertransfer": "0.1.0", "note": "no diagnosis", "unlike_note": "", "not_scored": [],
    "run": LONG, "encoder": "ser", "mode": "probe", "aggregation": "mean", "threshold": 0.5,
    "classes": ["not depressed", "depressed"], "population": "trained on 12 subjects",
    "recordings": [
        {
            "recording": EVIL, "score": 0.5, "decision": "depressed", "flags": [], "warnings": [],
            "precedents": [], "left_out": [], "audio": LONG, "seconds": 1800.0, "sample_rate": 16000,
            "cut_by": "transcript", "sentences_scored": 60, "audio_shared": "none",
            "encoder_audio_shared": "none",
            "sentences": [
                {"sentence": place, "start": 30.0 * place, "end": 30.0 * place + 1.5, "score": 0.5}
                for place in range(60)
            ],
        }
    ],
}  # fmt: skip
"""Of half an hour, each short sentence with a score at the middle."""

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser():
    if PROGRAM is None:
        warnings.warn("no Chromium: the layout of the pages is not tested", stacklevel=1)
        pytest.skip("no Chromium: the layout of the pages is not tested; apt-get install chromium")
    opened = Browser()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Write one page of each kind, with names that try to break it."""
    place = tmp_path_factory.mktemp("pages")
    metrics = {
        **STAGE_2,
        "generated": True,
        "errata": [EVIL, LONG],
        "assumptions": {"where": LONG},
        "shortcuts": [{"name": EVIL, "wa": 0.6, "ua": 0.55, "auroc": 0.4, "wa_ci95": [0.3, 0.8]}],
    }
    files = {
        "subjects.csv": SUBJECTS.replace("300", '"' + EVIL.replace('"', '""') + '"'),
        "config.yaml": json.dumps({EVIL: LONG}),
        "sessions.json": json.dumps([{"command": f"sertransfer transfer --run-dir {LONG}", "seconds": 1.0}]),
    }
    one = make_run(place / "one", metrics, **files)
    other = make_run(place / "other", {**metrics, "encoder": "asr"}, **files)
    utterances = "id,speaker,split,label,prediction,score_angry,score_sad\n" + "".join(
        f"{index},1,test,{('angry', 'sad')[index % 2]},angry,{0.5 + index / 50},{0.5 - index / 50}\n"
        for index in range(20)
    )
    epochs = "epoch,loss,train_wa\n1,2.0,0.3\n2,1.0,0.5\n"
    first = make_run(place / "first", STAGE_1, **{"utterances.csv": utterances, "epochs.csv": epochs})
    compared, tables = place / "comparison.html", place / "tables.html"
    assert main(["compare", str(one), str(other), "--resamples", "50", "--html", str(compared)]) == 0
    folders = [str(folder) for folder in (one, other, first)]
    assert main(["tables", *folders, "--format", "html", "-o", str(tables)]) == 0
    settings = {f"probe_{index}": index for index in range(25)}
    few = make_run(place / "few", metrics, **{**files, "config.yaml": json.dumps(settings)})
    more = {name: value + 1 for name, value in settings.items()}
    changed = make_run(place / "changed", metrics, **{**files, "config.yaml": json.dumps(more)})
    differing = place / "settings.html"
    assert main(["compare", str(few), str(changed), "--html", str(differing)]) == 0
    names = ("wa", "ua", "macro_f1", "sensitivity", "specificity", "auroc")
    bounds = dict.fromkeys(names, 0.714) | {f"{name}_ci95": [0.537, 0.854] for name in names}
    about = {f"setting {number}": number for number in range(30)}
    rows = (f"{index},dev,depressed,{index / 40},depressed,3,False" for index in range(40))
    many = make_run(
        place / "many",
        {**metrics, "encoder_details": about, "subject": {**metrics["subject"], **bounds}},
        **{"subjects.csv": "\n".join([SUBJECTS.splitlines()[0], *rows]) + "\n"},
    )
    write_prediction_page(PREDICTION, place / "prediction.html")
    return {
        "many": write_report(many),
        "settings": differing,
        "prediction": place / "prediction.html",
        "subjects": write_report(one),
        "utterances": write_report(first),
        "comparison": compared,
        "tables": tables,
    }


HOSTILE = (
    '<img src=x onerror="document.title=\'run\'"></td></title></style></script><svg onload="document.title='
    "'run'\"><script>document.title='run'</script>\"' onmouseover='document.title=\"run\"' {{6*7}} ${6*7} "
    "javascript:document.title='run' =cmd|' /C calc'!A0 ]]><!-- \u202eabc\u2066 \x1b[31m\nnew\ufeff \ufffe"
)
MEANT = (
    "cut_by",
    "audio_shared",
    "encoder_audio_shared",
    "mode",
    "unit",
    "rule",
    "intervals_over",
    "kind",
    "split",
)
"""Keys whose values choose among a few; any other text is somebody's."""


def with_everywhere(value, text, key=""):
    """Return nested *value* with *text* behind each of its own texts."""
    if isinstance(value, dict):
        return {name: with_everywhere(below, text, name) for name, below in value.items()}
    if isinstance(value, list):
        return [with_everywhere(one, text, key) for one in value]
    return value + text if isinstance(value, str) and key not in MEANT else value


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Write a page of each kind in which each text of somebody's tries to be more than that."""
    place = tmp_path_factory.mktemp("hostile")
    recording = {**PREDICTION["recordings"][0], "warnings": ["w"], "left_out": ["l"]}
    recording["sentences"] = [{**one, "text": "said"} for one in recording["sentences"][:3]]
    said = {**PREDICTION, "recordings": [recording], "not_scored": ["n"], "unlike_note": "u"}
    write_prediction_page(with_everywhere(said, HOSTILE), place / "prediction.html")
    table = pd.read_csv(io.StringIO(SUBJECTS), dtype=str)
    for column in ("subject", "label", "prediction"):
        table[column] += HOSTILE
    folders = [
        make_run(
            place / name,
            with_everywhere({**STAGE_2, "encoder": name}, HOSTILE),
            **{"subjects.csv": table.to_csv(index=False), "config.yaml": json.dumps({HOSTILE: HOSTILE})},
        )
        for name in ("ser", "asr")
    ]
    compared = place / "comparison.html"
    assert main(["compare", *map(str, folders), "--html", str(compared)]) == 0
    return {
        "prediction": place / "prediction.html",
        "report": write_report(folders[0]),
        "comparison": compared,
    }


@pytest.mark.parametrize("kind", ["prediction", "report", "comparison"])
def test_no_text_is_more_than_text(browser, hostile, kind):
    tab = browser.open(hostile[kind])
    assert tab.value("document.title") != "run"
    handlers = (
        "[...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => /^on/.test(a.name)"
    )
    assert tab.value(f"{handlers} || /^javascript:/.test(a.value))).length") == 0
    assert (
        tab.value("document.images.length + document.querySelectorAll('iframe, object, embed, base').length")
        == 0
    )
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
    assert tab.complaints == []
    text = tab.value("document.documentElement.outerHTML")
    assert re.findall(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ufeff\ufffe]", text) == []
    assert "\\u202eabc" in text
    assert "{{6*7}}" in text


KINDS = ("subjects", "utterances", "comparison", "tables", "prediction")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True), (390, False), (1280, True)])
def test_nothing_is_wider_than_the_window_and_the_console_is_empty(browser, pages, kind, width, dark):
    tab = browser.open(pages[kind], width=width, dark=dark)
    assert tab.value(OVERFLOW) <= 0
    wide = "[...document.querySelectorAll('section, figure, .tile, pre, h1, h2, p, li')].filter("
    wide += "e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    assert tab.value(wide) == []
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
    assert tab.value("document.title") != "run"
    shown = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("L"))
    assert shown.shape == (900, width)
    assert (np.median(shown) < 60) if dark else (np.median(shown) > 200)
    assert shown.std() > 10  # something is drawn


@pytest.mark.parametrize("kind", KINDS)
def test_the_printed_page_is_light_and_as_wide_as_its_paper(browser, pages, kind):
    tab = browser.open(pages[kind], width=794, dark=True, printed=True)  # A4
    assert tab.value(OVERFLOW) <= 0
    assert tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def column(tab, name):
    """Return the cells of the column *name* in the list of subjects."""
    return tab.value(
        "(() => { const table = [...document.querySelectorAll('table')].find(t => t.tHead.textContent"
        ".includes('prediction') && t.tHead.textContent.includes('decision'));"
        "const at = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === '" + name + "');"
        "return [...table.tBodies[0].rows].map(r => r.cells[at].textContent) })()"
    )


def test_a_table_is_sorted_by_the_keyboard_and_says_so(browser, pages):
    tab = browser.open(pages["subjects"])
    assert column(tab, "score") == ["0.900", "0.600", "0.250"]
    head = "[...document.querySelectorAll('th')].find(h => h.textContent === 'score')"
    tab.value(f"{head}.querySelector('button').focus()")
    tab.press("Enter")
    assert column(tab, "score") == ["0.250", "0.600", "0.900"]
    assert tab.value(f"{head}.getAttribute('aria-sort')") == "ascending"
    tab.press("Enter")
    assert column(tab, "score") == ["0.900", "0.600", "0.250"]
    assert tab.value(f"{head}.getAttribute('aria-sort')") == "descending"
    other = "[...document.querySelectorAll('th')].find(h => h.textContent === 'decision')"
    tab.value(f"{other}.querySelector('button').click()")
    assert tab.value(f"{head}.getAttribute('aria-sort')") is None
    assert column(tab, "decision") == ["right", "right, undecided", "wrong"]
    assert tab.complaints == []


def test_what_is_no_number_stands_last_whichever_way_is_sorted(browser, pages):
    tab = browser.open(pages["subjects"])
    cells = "[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[3].textContent)"
    click = "[...document.querySelectorAll('th button')].find(b => b.textContent === 'macro-F1')"
    for _ in range(2):
        tab.value(f"{click}.click()")
        assert tab.value(cells)[-1] in ("–", "undefined")


def test_without_its_script_the_page_is_whole(browser, pages):
    tab = browser.open(pages["subjects"], script=False)
    text = json.dumps(tab.send("DOM.getDocument", depth=-1))
    assert '"nodeName": "TABLE"' in text
    assert '"nodeName": "BUTTON"' not in text
    assert tab.complaints == []


def test_details_open_for_the_printer_and_close_again(browser, pages):
    tab = browser.open(pages["utterances"])
    closed = "document.querySelectorAll('details:not([open])').length"
    before = tab.value(closed)
    assert before > 0
    tab.value("dispatchEvent(new Event('beforeprint'))")
    assert tab.value(closed) == 0
    tab.value("dispatchEvent(new Event('afterprint'))")
    assert tab.value(closed) == before


@pytest.mark.parametrize("width", [1280, 390])
def test_no_table_scrolls_inside_the_page_and_no_figure_is_cut(browser, pages, width):
    tab = browser.open(pages["subjects"], width=width)
    cut = (
        "[...document.querySelectorAll('{}')].filter(e => e.{} > e.{} + 1).map(e => e.outerHTML.slice(0, 90))"
    )
    assert tab.value(cut.format("figure > div, figure svg", "scrollWidth", "clientWidth")) == []
    assert tab.value(cut.format(".scroll", "scrollHeight", "clientHeight")) == []
    figures = "[...document.querySelectorAll('figure svg')]"
    assert tab.value(f"{figures}.filter(e => e.getBoundingClientRect().right > innerWidth).length") == 0
    if width == 1280:
        scores = "document.querySelector('table.scores')"
        assert tab.value(f"{scores}.scrollWidth <= {scores}.parentElement.clientWidth")
        assert tab.value(
            f"[...{scores}.tHead.rows[0].cells].pop().getBoundingClientRect().right < innerWidth"
        )


@pytest.mark.parametrize("kind", [*KINDS, "many"])
def test_no_table_scrolls_sideways_on_a_phone(browser, pages, kind):
    tab = browser.open(pages[kind], width=390)
    tab.value("document.querySelectorAll('details').forEach(e => e.open = true)")
    boxes = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert tab.value(f"{boxes}.map(e => e.ariaLabel)") == []


@pytest.mark.parametrize("kind", [*KINDS, "many"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_score_is_in_the_window(browser, pages, kind, width):
    """No column of a table of scores hides behind sideways scrolling, and no box scrolls inside the page."""
    tab = browser.open(pages[kind], width=width)
    outside = "[...document.querySelectorAll('table.scores td')].filter(e => {"
    outside += "const box = e.closest('.scroll').getBoundingClientRect(), own = e.getBoundingClientRect();"
    outside += "return own.width === 0 || own.right > Math.min(box.right, innerWidth) + 1"
    outside += "}).map(e => e.textContent)"
    assert tab.value(outside) == []
    inner = (
        "[...document.querySelectorAll('.scroll')].filter(e => e.scrollHeight > e.clientHeight + 1).length"
    )
    assert tab.value("document.querySelectorAll('details').forEach(e => e.open = true)") is None
    assert tab.value(inner) == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_sentence_with_a_score_of_a_half_is_seen(browser, pages, width, dark):
    tab = browser.open(pages["prediction"], width=width, height=1600, dark=dark)
    shown = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(int)
    box = "[...document.querySelectorAll('figure svg')].find(e => e.getBoundingClientRect().width > 0)"
    edges = [
        int(tab.value(f"{box}.getBoundingClientRect().{edge}")) for edge in ("left", "right", "top", "bottom")
    ]
    figure = shown[edges[2] : edges[3], edges[0] : edges[1]]
    orange = (abs(figure - (0xD5, 0x5E, 0x00)) < 40).all(axis=2)
    middle = orange.sum(axis=0) > 1
    # the legend has the colour as well: each sentence has a mark of its own, some pixels high
    assert np.diff(middle.astype(int)).clip(0).sum() >= 40
    assert orange.sum() > 60 * 2 * 2


def test_a_phone_names_each_score_by_its_column(browser, pages):
    tab = browser.open(pages["subjects"], width=390)
    cells = "[...document.querySelector('table.scores').tBodies[0].rows[0].cells].slice(1)"
    shown = tab.value(f"{cells}.map(e => getComputedStyle(e, '::before').content)")
    assert shown == [f'"{name}"' for name in ("WA", "UA", "macro-F1", "sensitivity", "specificity", "AUROC")]
    assert tab.value("getComputedStyle(document.querySelector('table.scores thead')).display") == "none"
    wide = browser.open(pages["subjects"], width=1280)
    assert wide.value(f"{cells}.map(e => getComputedStyle(e, '::before').content)")[0] == "none"


@pytest.mark.parametrize("kind", ["subjects", "utterances", "comparison", "prediction"])
@pytest.mark.parametrize("width", [1280, 390])
def test_one_drawing_of_each_figure_is_shown_and_its_text_can_be_read(browser, pages, kind, width):
    tab = browser.open(pages[kind], width=width)
    seen = "[...document.querySelectorAll('figure')].map(f => [...f.querySelectorAll('svg')]"
    seen += ".filter(e => e.getBoundingClientRect().width > 0).length)"
    counts = tab.value(seen)
    assert counts
    assert set(counts) == {1}
    size = "[...document.querySelectorAll('figure svg')].filter(e => e.getBoundingClientRect().width > 0)"
    size += ".flatMap(s => [...s.querySelectorAll('text')].filter(t => t.textContent.trim()).map(t => "
    size += "parseFloat(getComputedStyle(t).fontSize) * s.getScreenCTM().a))"
    sizes = tab.value(size)
    assert sizes
    assert min(sizes) > 7.5  # pixels; 34rem squeezed into a phone gave 5


def test_every_subject_is_seen_without_scrolling_in_a_box(browser, pages):
    tab = browser.open(pages["many"])
    table = (
        "[...document.querySelectorAll('table')].find(t => t.caption.textContent.includes('Every subject'))"
    )
    assert tab.value(f"{table}.tBodies[0].rows.length") == 40
    box = f"{table}.closest('.scroll')"
    assert tab.value(f"{box}.scrollHeight - {box}.clientHeight") <= 0
    assert tab.value(f"getComputedStyle({box}).maxHeight") == "none"


def test_ten_of_many_facts_stand_open(browser, pages):
    tab = browser.open(pages["many"])
    facts = "document.querySelector('section[aria-labelledby=what]')"
    assert tab.value(f"{facts}.querySelector('dl').querySelectorAll('dt').length") == 10
    folded = f"{facts}.querySelector('details.folded')"
    assert not tab.value(f"{folded}.open")
    assert tab.value(f"{folded}.querySelectorAll('dt').length") > 0
    settings = browser.open(pages["settings"])
    rows = "document.querySelector('section[aria-labelledby=settings]').querySelectorAll('table')"
    assert settings.value(f"[...{rows}].map(t => t.tBodies[0].rows.length)") == [10, 15]
    assert (
        settings.value("document.querySelectorAll('section[aria-labelledby=settings] details[open]').length")
        == 0
    )


def test_a_click_selects_the_methods_whole(browser, pages):
    tab = browser.open(pages["subjects"])
    assert tab.value("getComputedStyle(document.querySelector('blockquote')).userSelect") == "all"
    assert "Software: sertransfer" in tab.value("document.querySelector('blockquote').textContent")


def test_the_browser_sees_what_is_wrong(browser, tmp_path):
    """The checks above can fail: a page without our manners fails each."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"
        "<div style='width: 3000px'>x</div><script>throw 1</script><div id=w><svg width=3000></svg></div>"
    )
    tab = browser.open(page)
    assert tab.value(OVERFLOW) > 0
    assert tab.complaints
