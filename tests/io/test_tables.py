from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sertransfer.errors import BadInput, Faults
from sertransfer.io.csv_tables import (
    AGES,
    RESPELT,
    STRAY_QUOTES,
    bad_ages,
    merge_spellings,
    parse_delimiter,
    quantity_of,
    read_text_table,
)


@pytest.fixture
def table(tmp_path: Path):
    def read(content: str | bytes, **options):
        path = tmp_path / "t.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_text_table(path, **options)

    return read


def rows_of(table: pd.DataFrame) -> dict[int, list[str]]:
    return {int(row): cells for row, *cells in table.itertuples(name=None)}


def faults_of(read, content, **options) -> list[str]:
    with pytest.raises(BadInput) as refusal:
        read(content, **options)
    return [str(fault).partition("t.csv")[2] for fault in refusal.value.faults]


def test_rows_keep_their_number_and_blank_ones_go(table) -> None:
    read = table("\n a ,b\n1, x\n\n,\n2,y \n")
    assert list(read.columns) == ["a", "b"]
    assert rows_of(read) == {3: ["1", "x"], 6: ["2", "y"]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_of_every_system(table, end: str, last: bool) -> None:
    read = table(end.join(["a,b", '1,"x, y"', "2,z"]) + end * last)
    assert rows_of(read) == {2: ["1", "x, y"], 3: ["2", "z"]}


@pytest.mark.parametrize("mark", ['"so I said', 'he said "yes', '"a"b', 'x"'])
def test_a_stray_quote_swallows_no_row(table, mark: str) -> None:
    read = table(f"a\tb\n1\twell\n2\t{mark}\n3\twell\n4\t{mark}\n5\twell\n", delimiter="TAB")
    assert rows_of(read)[3] == ["2", mark]
    assert rows_of(read)[5] == ["4", mark]
    assert len(read) == 5
    assert set(read.attrs[STRAY_QUOTES]) <= {3, 5}


def test_a_stray_quote_that_hides_a_delimiter_is_a_fault(table) -> None:
    (fault,) = faults_of(table, 'a,b\n1,"so, I said\n2,x\n')
    assert fault.startswith(", row 2: found a quotation mark that nothing closes, and 3 cells, more cells")


def test_a_cell_that_holds_a_line_end_is_one_fault(table) -> None:
    faults = faults_of(table, 'a,b,c\n1,"x\n\ny ""z""\nend",3\n2,x,4\n')
    assert faults == [
        ", row 2: found a cell that holds a line end (it ends in row 5); expected one line a row; "
        "remove the line end from the cell"
    ]
    collected = Faults(skip_bad=True)
    read = table('a,b\n1,"x\ny"\n2,x\n', faults=collected)
    assert rows_of(read) == {4: ["2", "x"]}
    assert len(collected.skipped) == 1


def test_more_and_fewer_cells_are_faults_of_their_rows(table) -> None:
    faults = faults_of(table, "a,b\n1,x\n2\n3,y,z\n4,w\n")
    assert [fault.partition(";")[0] for fault in faults] == [
        ", row 3: found 1 cell, fewer cells than the header has columns (2)",
        ", row 4: found 3 cells, more cells than the header has columns (2)",
    ]
    assert rows_of(table("a,b\n1,x,,\n2,y\n")) == {
        2: ["1", "x"],
        3: ["2", "y"],
    }  # empty cells behind the last


def test_a_header_that_fits_no_row_is_one_fault(table) -> None:
    (fault,) = faults_of(table, "a,b\n" + "1,x,y\n" * 50)
    assert ": found 3 cells, more cells than the header has columns (2) in every row;" in fault


@pytest.mark.parametrize("header", ["a,b,a", "a,b, a ", "a,b,\u200ba", "b,a,A\u0301,a"])
def test_a_column_that_stands_twice_is_refused(table, header: str) -> None:
    (fault,) = faults_of(table, f"{header}\n" + "1," * header.count(",") + "2\n")
    first = header.split(",").index("a") + 1
    assert f", row 1: found column 'a' twice (columns {first} and {header.count(',') + 1})" in fault


def test_columns_without_a_name_go(table) -> None:
    assert list(table(",a,,b\n0,1,,2\n").columns) == ["a", "b"]


def test_the_first_line_of_excel_gives_the_delimiter(table) -> None:
    for line in ("sep=;", '"sep=;"', "SEP=;;;"):
        assert rows_of(table(f"{line}\na;b\n1;x,y\n")) == {3: ["1", "x,y"]}


@pytest.mark.parametrize("name", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp1252"])
def test_encodings(table, name: str) -> None:
    text = "a,b\n1,é\n"
    mark = {"utf-16-le": b"\xff\xfe"}.get(name, b"")
    content = mark + text.encode(name)
    assert rows_of(table(content, encoding=name)) == {2: ["1", "é"]}
    if name.startswith(("utf-16", "utf-32")):
        (fault,) = faults_of(table, content, encoding="utf-8-sig")
        assert f"found text in {name[:6].upper()}" in fault
        assert f"--encoding {name[:6]}" in fault
    if name == "cp1252":
        (fault,) = faults_of(table, content)
        assert "--encoding" not in fault  # a reader without that option
        assert faults_of(table, content, encoding="utf-8-sig")[0].endswith("--encoding NAME, such as cp1252")
        assert ", row 2: found text that is not utf-8-sig" in fault
    assert rows_of(table(b"\xef\xbb\xbfa,b\n1,x\n", encoding="utf-8")) == {2: ["1", "x"]}


def test_what_is_no_text_is_named(table, tmp_path: Path) -> None:
    assert "found zero bytes" in faults_of(table, b"a,b\n1,\0\n")[0]
    assert "found zero bytes" in faults_of(table, "a,b\n1,x\n".encode("utf-16-le"))[0]
    assert faults_of(table, "")[0].startswith(": found an empty file")
    assert faults_of(table, "a,b\n")[0].startswith(": found no rows")
    with pytest.raises(BadInput, match="no file"):
        read_text_table(tmp_path / "none.csv")
    with pytest.raises(BadInput, match="an encoding of text"):
        read_text_table(tmp_path / "t.csv", encoding="rot13")


def test_cells_come_in_one_spelling(table) -> None:
    read = table("a,b\np1\u200b,Ame\u0301lie\np1,\u00a0Am\u00e9lie\n")
    assert rows_of(read) == {2: ["p1", "Am\u00e9lie"], 3: ["p1", "Am\u00e9lie"]}
    assert read.attrs[RESPELT] == {"a": 1, "b": 2}
    as_it_is = table("a,b\np1\u200b, x\n", spelling=False)
    assert rows_of(as_it_is) == {2: ["p1\u200b", " x"]}


def test_a_sound_table_and_a_ragged_one_are_read_alike(table) -> None:
    lines = ['x,"y, z",w', 'a"b,"c ""d""",e', " u ,\tv,'t'", "1,2,3"]
    sound = table("\n".join(["a,b,c", *lines]))
    ragged = table("\n".join(["a,b,c", *lines, "4,5,6,"]))
    assert rows_of(sound) == {row: cells for row, cells in rows_of(ragged).items() if row < 6}
    assert rows_of(sound)[3] == ['a"b', 'c "d"', "e"]


def test_delimiters_have_names() -> None:
    assert [parse_delimiter(name) for name in ("TAB", "tab", "\\t", ";", "semicolon", ",")] == list(
        "\t\t\t;;,"
    )
    for bad in ("", ",,", '"', "tabs"):
        with pytest.raises(BadInput, match="one character"):
            parse_delimiter(bad)


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("gain", ["", "0.5", "1e-3", "2"], ["0,5", "abc", "0", "-1", "inf", "nan", "0x10", "1_0"]),
        ("Gain", ["1"], ["0"]),
        ("overlap", ["0", "1", ".5"], ["1.01", "-0.1", "50%", "0,5"]),
        ("start", ["0", "1.5"], ["-1", "1,5", "inf", "00:01"]),
        ("end", ["1.5"], ["0", "-1"]),
        ("PHQ_Score", ["0", "24", "10.0"], ["25", "-1", "9.5", "9,5", "ten"]),
        ("phq8_score", ["24"], ["25"]),
        ("PHQ-9 total", ["27"], ["28"]),
        ("PHQ8_Binary", ["0", "1", ""], ["2", "yes"]),
        ("duration", ["3.2"], ["-3", "3,2"]),
    ],
)
def test_columns_of_numbers(column: str, good: list[str], bad: list[str]) -> None:
    quantity = quantity_of(column)
    assert quantity is not None
    assert not quantity.bad(pd.Series(good, dtype=object)).any()
    assert quantity.bad(pd.Series(bad, dtype=object)).all()


def test_columns_of_text_are_not_numbers() -> None:
    assert [quantity_of(name) for name in ("sentence", "session", "again", "score", "phq")] == [None] * 5


def test_ages() -> None:
    good = ["", "young", "34", "34.5", "20-29", "20 – 29", "unknown"]
    bad = ["34,5", "-5", "999", "1987", "34 years", "60+", "2o"]
    assert not bad_ages(pd.Series(good, dtype=object)).any()
    assert bad_ages(pd.Series(bad, dtype=object)).all()
    assert AGES.highest == 150


def test_spellings_are_merged_to_the_first() -> None:
    names = pd.Series(["P1", "p1", "p2", "p1"], index=[2, 3, 4, 7], dtype=object)
    merged, groups = merge_spellings(names, str.casefold)
    assert merged.to_dict() == {2: "P1", 3: "P1", 4: "p2", 7: "P1"}
    assert groups == [["P1", "p1"]]
