"""Tables of text from files, one row a line: read, and checked before anything is taken from them.

Everything stays text until a value is needed. Rows keep their number in the file (the first line is row 1),
so that every message can name the row.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from sertransfer.errors import BadInput, Faults, bad_input
from sertransfer.io.files import regular_file
from sertransfer.io.spelling import clean, name_control, printable

DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|"}
"""Names of delimiters that are hard to type."""

STRAY_QUOTES = "stray_quotes"
"""Attribute of a table: the rows with a quotation mark that nothing closes."""

RESPELT = "respelt"
"""Attribute of a table: the number of cells in each column that were not in the spelling that is kept."""

_LINE_END = re.compile("\r\n|\n|\r")
# What Excel writes and reads as the first line where the delimiter is not that of the machine's language.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[,;\t]*', re.IGNORECASE)
_WIDE = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_ROWS_OF_A_CELL = 100
"""Rows that are searched for the end of a quoted cell."""


class TableRow(NamedTuple):
    """A line of a table that is not blank: its number in the file, and its cells."""

    number: int
    cells: list[str]


def parse_delimiter(text: str) -> str:
    """Return the delimiter that *text* is or names, such as ``TAB``.

    Raises:
        BadInput: If it is neither one character nor such a name.
    """
    delimiter = DELIMITERS.get(text.casefold(), text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise bad_input(
            "option delimiter",
            found=f"'{text}'",
            expected="one character",
            remedy=f"give it as it is, or as {', '.join(name for name in DELIMITERS if name.isalpha())}",
        )
    return delimiter


def read_lines(path: Path, *, encoding: str = "", what: str = "the table", remedy: str) -> list[str]:
    """Return the lines of a text file, whatever ends them; a byte order mark is no part of them.

    Args:
        path: The file.
        encoding: Its encoding, by the user's word; empty = UTF-8, whatever the user says.
        what: What the file is, for the messages.
        remedy: What to do if it is not there.

    Raises:
        BadInput: If the file is missing, or is not text in *encoding*.
    """
    try:
        return decode_lines(regular_file(path).read_bytes(), path, encoding=encoding)
    except FileNotFoundError:
        raise bad_input(path, found="no file", expected=what, remedy=remedy) from None
    except OSError as error:
        raise bad_input(path, found=error.strerror or str(error), expected=what, remedy=remedy) from None


def decode_lines(data: bytes, where: object, *, encoding: str = "", errors: str = "strict") -> list[str]:
    """Return the lines of the content of a text file, as :func:`read_lines` does.

    Args:
        data: The content.
        where: The file, for the messages.
        encoding: As for :func:`read_lines`.
        errors: What becomes of bytes that are not text, as for ``bytes.decode``.

    Raises:
        BadInput: If it is not text in *encoding*.
    """
    given = encoding
    encoding = given or "utf-8-sig"
    wide = next((name for mark, name in _WIDE.items() if data.startswith(mark)), "")
    if wide and not encoding.replace("_", "-").casefold().startswith(("utf-16", "utf-32", "utf16", "utf32")):
        raise _other_encoding(where, f"text in {wide.upper()}", given, wide)
    try:
        text = data.decode(encoding, errors)
    except LookupError:
        raise bad_input(
            "option encoding",
            found=f"'{encoding}'",
            expected="an encoding of text",
            remedy="name one, such as utf-8, cp1252 or utf-16",
        ) from None
    except UnicodeError as error:
        place = where
        if isinstance(error, UnicodeDecodeError):
            place = f"{where}, row {len(_LINE_END.split(data[: error.start].decode('latin-1')))}"
        raise _other_encoding(place, f"text that is not {encoding} ({error})", given, "") from None
    if "\0" in text:
        raise _other_encoding(where, "zero bytes: binary data, or text in UTF-16", given, "utf-16")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _other_encoding(where: object, found: str, encoding: str, name: str) -> BadInput:
    remedy = "save it as UTF-8"
    if encoding:
        remedy += f", or name its encoding with --encoding {name or 'NAME, such as cp1252'}"
    return bad_input(where, found=found, expected=f"a table in {encoding or 'UTF-8'}", remedy=remedy)


def split_rows(
    lines: Sequence[str], where: object, faults: Faults, *, delimiter: str = ",", even: bool = True
) -> tuple[list[TableRow], list[int]]:
    """Split the lines of a table into cells; the first row is the header.

    A cell ends with its line: one that holds a line end, a quotation mark that nothing closes, and a row of
    more or fewer cells than the header are faults. Empty cells behind the last column are dropped.

    Args:
        lines: The lines, blank ones too.
        where: Name of the file, for the messages.
        faults: Receives a skippable fault for each such row, which is left out.
        delimiter: Between the cells; a first line ``sep=;``, as Excel writes it, overrides it.
        even: Refuse rows of more or fewer cells than the header, and cells of several lines; otherwise the
            lines of a cell are joined where none of them could be a row.

    Returns:
        The rows, blank lines left out; and the numbers of those with a stray quotation mark, which are whole
        if the mark is a character like any other.
    """
    delimiter, start = _delimiter_of(lines, delimiter)
    rows: list[TableRow] = []
    broken: dict[int, list[str]] = {}
    after = -1
    for number, line in enumerate(itertools.islice(lines, start, None), start + 1):
        if number <= after:
            continue  # the rest of a cell that a fault has named
        if '"' not in line:
            cells = line.split(delimiter)
        elif (split := _split_quoted(line, delimiter)) is not None:
            cells = split
        elif end := _end_of_cell(lines, number, delimiter):
            after = end
            # Lines that could be rows of their own are not swallowed.
            rest = lines[number:end]
            width = len(rows[0].cells) if rows else 0
            if not even and all(line.count(delimiter) + 1 < width for line in rest):
                rows.append(TableRow(number, _split_quoted(" ".join([line, *rest]), delimiter) or []))
                continue
            _bad_row(
                faults,
                f"{where}, row {number}",
                found=f"a cell that holds a line end (it ends in row {end})",
                expected="one line a row",
                remedy="remove the line end from the cell",
            )
            continue
        else:
            cells = line.split(delimiter)
            broken[number] = cells
        if cells[0].strip() or any(map(str.strip, cells)):
            rows.append(TableRow(number, cells))
    return (_even(rows, broken, where, faults) if even else rows), list(broken)


def _split_quoted(line: str, delimiter: str) -> list[str] | None:
    """Return the cells of a line with quotation marks, ``None`` if one is not closed, or closed too early."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return None


def _end_of_cell(lines: Sequence[str], number: int, delimiter: str) -> int:
    """Return the row in which the quoted cell that row *number* leaves open ends; 0 if none does."""
    part = lines[number - 1]
    for end in range(number + 1, min(len(lines), number + _ROWS_OF_A_CELL) + 1):
        part = f"{part} {lines[end - 1]}"
        if '"' in lines[end - 1]:
            try:
                next(csv.reader([part], delimiter=delimiter, strict=True))
            except csv.Error as error:
                if str(error) != "unexpected end of data":
                    return 0  # a mark that closes nothing: the first one was stray
            else:
                return end
    return 0


def _even(
    rows: list[TableRow], broken: dict[int, list[str]], where: object, faults: Faults
) -> list[TableRow]:
    """Return the rows with as many cells as the header; the others become faults."""
    if not rows:
        return rows
    width = len(rows[0].cells)
    uneven = [row for row in rows if len(row.cells) != width]
    if not uneven:
        return rows
    odd = set()
    for row in uneven:
        if any(map(str.strip, row.cells[width:])) or len(row.cells) < width:
            odd.add(row.number)
        else:
            del row.cells[width:]
    counts = {len(row.cells) for row in rows[1:]}
    if len(odd) == len(rows) - 1 > 1 and len(counts) == 1 and not broken:
        (count,) = counts
        _bad_row(
            faults,
            where,
            found=f"{_count_cells(count, width)} in every row",
            expected="as many cells as columns",
            remedy="correct the header, or set --delimiter",
        )
        return rows[:1]
    for row in uneven:
        if row.number in odd:
            found = _count_cells(len(row.cells), width)
            stray = row.number in broken
            _bad_row(
                faults,
                f"{where}, row {row.number}",
                found=f"a quotation mark that nothing closes, and {found}" if stray else found,
                expected="as many cells as columns",
                remedy="remove the quotation mark, or close it" if stray else "correct the row",
            )
    return [row for row in rows if row.number not in odd]


def _count_cells(count: int, width: int) -> str:
    more = "more" if count > width else "fewer"
    return f"{count} cell{'s' * (count != 1)}, {more} cells than the header has columns ({width})"


def _bad_row(faults: Faults, where: object, *, found: str, expected: str, remedy: str) -> None:
    faults.add(where, found=found, expected=expected, remedy=remedy, skippable=True)


def read_text_table(
    path: Path,
    *,
    delimiter: str = ",",
    encoding: str = "",
    faults: Faults | None = None,
    what: str = "the metadata table",
    remedy: str = "name it in the options",
    spelling: bool = True,
) -> pd.DataFrame:
    """Read a table as text, empty cells as ``""``; the index is the row number in the file.

    Blank rows are left out, and columns without a name.

    Args:
        path: The file.
        delimiter: Between the columns, or its name; see :func:`split_rows`.
        encoding: Of the file, by the user's word; empty = UTF-8, whatever the user says.
        faults: Receives a skippable fault for each bad row; without it they are raised.
        what: What the file is, for the messages.
        remedy: What to do if it is not there.
        spelling: Bring every cell into the one spelling of :func:`sertransfer.io.spelling.clean`.

    Raises:
        BadInput: If the file is missing or is not text in *encoding*, names a column twice, or has no
            sound row.
    """
    lines = read_lines(path, encoding=encoding, what=what, remedy=remedy)
    own = Faults()
    given, first = _delimiter_of(lines, parse_delimiter(delimiter))
    stray: list[int] = []
    table = _read_sound(lines, given, first)
    if table is None:
        rows, stray = split_rows(lines, path, own, delimiter=given)
        cells = pd.DataFrame([row.cells for row in rows], dtype=object)
        table = cells.set_index(pd.Index([row.number for row in rows], dtype=int))
    if table.empty:
        raise bad_input(path, found="an empty file", expected="a CSV table", remedy="check the table")
    header = [clean(cell) for cell in table.iloc[0]]
    check_columns(header, f"{path}, row {table.index[0]}")
    if faults is None or len(table) == 1:
        own.raise_if_any()
    else:
        faults.extend(own, skippable=True)
    if len(table) == 1:
        raise bad_input(path, found="no rows", expected="one row an utterance", remedy="check the table")
    table = table.iloc[1:].set_axis(header, axis=1)
    table = table[[name for name in header if name]]
    if spelling:
        table = _in_one_spelling(table, lines, given)
    table.attrs[STRAY_QUOTES] = stray
    return table


def _delimiter_of(lines: Sequence[str], delimiter: str) -> tuple[str, int]:
    """Return the delimiter, and how many lines go before the header."""
    excel = _SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    return (delimiter, 0) if excel is None else (excel[1], 1)


def _read_sound(lines: Sequence[str], delimiter: str, first: int) -> pd.DataFrame | None:
    """Return the cells of a table in which every row is sound, header included; ``None`` of any other.

    What :func:`split_rows` gives for such a table, ten times as fast.
    """
    if not delimiter.isascii():
        return None
    filled = [line for line in itertools.islice(lines, first, None) if line]
    text = "\n".join(filled)
    if '"' in text:
        widths = {_count_split(line, delimiter) for line in filled}
    else:
        widths = {count + 1 for count in set(map(str.count, filled, itertools.repeat(delimiter)))}
    if len(widths) != 1 or 0 in widths:
        return None
    (width,) = widths
    table = pd.read_csv(
        io.BytesIO(text.encode()),
        sep=delimiter,
        header=None,
        names=range(width),
        index_col=False,
        dtype=object,
        na_filter=False,
        skip_blank_lines=False,
    )
    table.index = pd.Index([number for number, line in enumerate(lines, 1) if number > first and line])
    if not all(map(str.strip, table[0].tolist())):
        table = table[table.map(lambda cell: bool(cell.strip())).any(axis=1)]
    return table


def _count_split(line: str, delimiter: str) -> int:
    """Return the number of cells of a line; 0 if a quotation mark in it is stray."""
    if '"' not in line:
        return line.count(delimiter) + 1
    return len(_split_quoted(line, delimiter) or ())


def _in_one_spelling(table: pd.DataFrame, lines: Sequence[str], delimiter: str) -> pd.DataFrame:
    text = "\n".join(lines)
    edges = [f"{space}{edge}" for space in " \t" for edge in (delimiter, "\n", '"')]
    ends = text[:1] + text[-1:]
    padded = ends != ends.strip(" \t") or any(edge in text or edge[::-1] in text for edge in edges)
    if text.isascii() and not padded:
        return table
    known = {value: clean(value) for column in table for value in table[column].unique()}
    odd = [value for value, kept in known.items() if kept != value.strip(" \t")]
    counts = table.isin(odd).sum() if odd else pd.Series(0, index=table.columns)
    table = table.apply(lambda column: column.map(known)).astype(object)
    table.attrs[RESPELT] = {str(column): int(count) for column, count in counts.items() if count}
    return table


def check_columns(names: Sequence[str], where: str) -> None:
    """Refuse a header that names a column twice.

    Args:
        names: The columns; those without a name are not looked at.
        where: File and row of the header.

    Raises:
        BadInput: With a fault for each name that stands twice.
    """
    faults = Faults()
    for name in dict.fromkeys(names):
        at = [str(position) for position, other in enumerate(names, 1) if other == name]
        if name and len(at) > 1:
            faults.add(
                where,
                found=f"column '{name}' {'twice' if len(at) == 2 else f'{len(at)} times'}"
                f" (columns {', '.join(at[:-1])} and {at[-1]})",
                expected="each column once",
                remedy="rename or remove the others",
            )
    faults.raise_if_any()


def check_text(
    table: pd.DataFrame, where: str, reject: Callable[[pd.Series[bool], str, dict[int, str]], None]
) -> None:
    """Find cells that hold what no name may hold: a control character, a line end, a mark of direction.

    Args:
        table: Columns of text.
        where: Name of the file, for the fault of a column's name.
        reject: Takes the rows with such a cell in a column (on the table's index), the column's name, and
            what each holds.

    Raises:
        BadInput: If a column's name holds such a character.
    """
    faults = Faults()
    for column in map(str, table.columns):
        if what := name_control(column):
            faults.add(
                where,
                found=f"{what} in the name of column '{column}'",
                expected="names of printable characters",
                remedy="rename the column",
            )
    faults.raise_if_any()
    for column in table.columns:
        if "".join(table[column].tolist()).isprintable():
            continue
        named = {value: what for value in table[column].unique().tolist() if (what := name_control(value))}
        if named:
            bad = table[column].isin(list(named))
            cells = table.loc[bad, column].items()
            reject(bad, str(column), {int(str(row)): named[value] for row, value in cells})


@dataclass(frozen=True)
class Quantity:
    """What a column of numbers may hold.

    Attributes:
        expected: That, for the messages.
        lowest, highest: Bounds, both included.
        above: The number must be greater than *lowest*.
        whole: The number must be whole.
    """

    expected: str
    lowest: float = -np.inf
    highest: float = np.inf
    above: bool = False
    whole: bool = False

    def bad(self, values: pd.Series[str]) -> pd.Series[bool]:
        """Return which of *values* (text; empty is not known, and fits) are not such a number."""
        numbers = pd.to_numeric(values, errors="coerce")
        fits = (numbers >= self.lowest) & (numbers <= self.highest) & np.isfinite(numbers)
        if self.above:
            fits &= numbers > self.lowest
        if self.whole:
            fits &= numbers == np.round(numbers)
        bad: pd.Series[bool] = ~fits & (values != "")
        return bad


QUANTITIES = {
    "start": Quantity("seconds from 0 on", 0),
    "end": Quantity("seconds above 0", 0, above=True),
    "gain": Quantity("a number above 0", 0, above=True),
    "overlap": Quantity("a share from 0 to 1", 0, 1),
    "duration": Quantity("seconds from 0 on", 0),
    "phq8_score": Quantity("a whole number from 0 to 24", 0, 24, whole=True),
    "phq9_score": Quantity("a whole number from 0 to 27", 0, 27, whole=True),
    "phq8_binary": Quantity("0 or 1", 0, 1, whole=True),
}
"""Columns of numbers, by name, and what they may hold."""

_ALIASES = {
    "phqscore": "phq8_score",
    "phq8": "phq8_score",
    "phq8total": "phq8_score",
    "phq9": "phq9_score",
    "phq9total": "phq9_score",
    "phqbinary": "phq8_binary",
}
AGES = Quantity("years from 0 to 150, a range such as 20-29, or a word", 0, 150)
_AGE_RANGE = re.compile(r"\d{1,3}\s*(?:-|–|to)\s*\d{1,3}")


def quantity_of(column: str) -> Quantity | None:
    """Return what a column of numbers may hold, by its name in any usual spelling; ``None`` for text."""
    plain = re.sub(r"[\W_]", "", column).casefold()
    known = {re.sub("_", "", name): name for name in QUANTITIES} | _ALIASES
    return QUANTITIES[known[plain]] if plain in known else None


def bad_ages(values: pd.Series[str]) -> pd.Series[bool]:
    """Return which of *values* hold a digit and are neither an age in years nor a range of ages."""
    odd = {
        value
        for value in values.unique()
        if any(map(str.isdigit, value)) and not _AGE_RANGE.fullmatch(value.casefold())
    }
    numbers = values.where(values.isin(odd), "")
    return AGES.bad(numbers)


def number_remedy(value: str, otherwise: str) -> str:
    """Return what to do about a text that is not the number it should be."""
    if re.fullmatch(r"[+-]?\d*,\d+", value):
        return f"write {value.replace(',', '.')}, with a decimal point"
    return otherwise


def merge_spellings(
    values: pd.Series[str], key: Callable[[str], str]
) -> tuple[pd.Series[str], list[list[str]]]:
    """Give names that are the same but for their spelling the first one's.

    Args:
        values: Names.
        key: What two spellings of a name have in common.

    Returns:
        The names, and each group of spellings that became one.
    """
    groups: dict[str, list[str]] = {}
    for value in values.unique():
        groups.setdefault(key(value), []).append(value)
    merged = [group for group in groups.values() if len(group) > 1]
    if not merged:
        return values, []
    first = {value: group[0] for group in groups.values() for value in group}
    return values.map(first).astype(object), merged


def shown_spellings(groups: Iterable[Sequence[str]]) -> str:
    """Return groups of spellings for a person, at most three of them."""
    named = [" and ".join(f"'{printable(one)}'" for one in group) for group in groups]
    return "; ".join(named[:3]) + (f"; and {len(named) - 3} more" if len(named) > 3 else "")
