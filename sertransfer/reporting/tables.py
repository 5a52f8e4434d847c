"""Tables as aligned text: a corpus described as in the paper's Tables 1 to 3 and Figure 1."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sertransfer.corpora.statistics import MIDDLE_AGED_FROM, OLD_FROM, Description

GAP = "  "


def align(rows: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """Return *rows* as lines of aligned columns, the first row ruled off as the head.

    Args:
        rows: Cells, every row of the same length; the first row is the head.
        left: Number of leading columns that are flush left; the others are flush right.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        GAP.join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + len(GAP) * (len(widths) - 1)), *lines[1:]])


def frame_rows(frame: pd.DataFrame, corner: str) -> list[list[object]]:
    """Return the frame's head and rows as cells, its index as the first column under *corner*."""
    head: list[object] = [corner, *frame.columns]
    return [head, *([index, *values] for index, *values in frame.itertuples(name=None))]


def format_description(description: Description) -> str:
    """Return the corpus in the form of the paper's Tables 1 to 3 and Figure 1, with captions."""
    overview = description.overview
    table1 = align([list(overview.columns), *overview.itertuples(index=False, name=None)])
    table2 = align(frame_rows(description.speakers, "gender"))
    table3 = align(frame_rows(description.labels, "label"))
    shares = [(label, f"{100 * share:.1f} %") for label, share in description.label_shares.items()]
    parts = [
        "Size of the corpus (the paper's Table 1)",
        table1,
        "",
        f"{description.unit.capitalize()} by gender and age (the paper's Table 2)",
        table2,
        f"Young is under {MIDDLE_AGED_FROM} years, old from {OLD_FROM}; the paper gives no limits.",
        "",
        "Utterances of each label in each split (the paper's Table 3)",
        table3,
        "The paper's own Table 3 prints its Training and Test columns swapped in every row but the total.",
        "",
        "Share of each label (the paper's Figure 1)",
        align([("label", "share"), *shares]),
    ]
    if description.remarks:
        parts += ["", *(f"Note: {remark}" for remark in description.remarks)]
    return "\n".join(parts)
