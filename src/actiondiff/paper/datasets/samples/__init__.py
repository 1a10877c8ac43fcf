"""Sample annotations of each dataset: a few rows in its own file formats, with the quirks of the whole files.

Nothing in them is published data: ids, animals, films, times and most class names are made up by
`tools/make_samples.py`. Stand-ins are drawn from them, and the readers are tested with them.
"""

import csv
import io
import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import openpyxl

from actiondiff.datasets import DATASETS
from actiondiff.errors import UnknownNameError
from actiondiff.provenance import atomic_path

__all__ = ["SAMPLES", "write_sample"]

SAMPLES = {
    "animal-kingdom": ("animal_kingdom",),
    "charades-ego": ("charades_ego",),
    "ucf-hmdb": ("ucf101", "hmdb51"),
}
"""Dataset -> folders of this package that hold its sample."""
_NUMBERS = ("S/N", "Label", "action")  # columns of numbers; the labels of clips are text, even a single one
_EMPTY_ROWS = 3  # the published sheet of animals ends with a thousand empty rows


def write_sample(dataset: str, folder: str | os.PathLike[str]) -> Path:
    """Write the sample in the dataset's own file formats, and return the folder.

    Args:
        dataset: Name of the dataset.
        folder: Folder to write to; created if it does not exist.

    Raises:
        UnknownNameError: If there is no sample of this dataset.
    """
    if dataset not in SAMPLES:
        raise UnknownNameError("sample", dataset, [name for name in DATASETS if name in SAMPLES])
    folder = Path(folder)
    for name in SAMPLES[dataset]:
        files = [item for item in resources.files(__name__).joinpath(name).iterdir() if item.is_file()]
        if dataset == "animal-kingdom":
            _write_workbook(folder / name / "AR_metadata.xlsx", files)
            continue
        for item in files:
            # Published files of Charades-Ego and UCF101 end their lines with CRLF.
            line_end = b"\n" if name == "hmdb51" else b"\r\n"
            with atomic_path(folder / name / item.name) as aside:
                aside.write_bytes(item.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", line_end))
    return folder


def _write_workbook(path: Path, sheets: list[Traversable]) -> None:
    book = openpyxl.Workbook()
    del book[book.sheetnames[0]]
    for item in sorted(sheets, key=lambda item: item.name):
        sheet = book.create_sheet(item.name.removesuffix(".csv"))
        header, *rows = csv.reader(io.StringIO(item.read_text("utf-8"), newline=""))
        sheet.append(header)
        for row in rows:
            sheet.append([_cell(name, text) for name, text in zip(header, row, strict=True)])
        for cell in next(sheet.iter_cols(max_col=1)):
            if cell.data_type == "f":
                cell.data_type = "s"  # the published label of Yawning is the text =#N/A
        if sheet.title == "Animal":
            sheet.cell(sheet.max_row + _EMPTY_ROWS, 1).value = ""
    with atomic_path(path) as aside:
        book.save(aside)


def _cell(column: str, text: str) -> str | int | None:
    return int(text) if column in _NUMBERS and text.isdecimal() else text or None
