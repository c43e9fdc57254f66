"""Tables (CSV) in which no spreadsheet sees a formula, and that can be read back exactly.

Whoever posts a file chooses its name and text (owasp.org/www-community/attacks/CSV_Injection). An apostrophe
precedes what may be taken for a formula, and what looks like that already, so that it can be removed again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Final

#: Where a cell begins, also for a spreadsheet that takes semicolons or tabs for the ends of cells, and then
#: does not know that line breaks are quoted.
_BEGIN: Final = r"(?:^|(?<=[;\t\r\n]))"
#: A formula; quotes before it may be taken for those of the cell.
_FORMULA: Final = r"""(?=[ "']*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20])"""
_FORMULAS = re.compile(_BEGIN + _FORMULA)
_MARKED = re.compile(_BEGIN + "'" + _FORMULA)


def row(cells: Iterable[object]) -> str:
    """A row; texts in it are inert."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # cells with one of both are quoted
    writer.writerow(_inert(each) if isinstance(each, str) else each for each in cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def original(cell: str) -> str:
    """The text of a cell that `row` has written."""
    return _MARKED.sub("", cell)


def _inert(text: str) -> str:
    return _FORMULAS.sub("'", text)
