"""The sample annotations: made by the script that is checked in, and by nothing else."""

import runpy
from pathlib import Path

import pandas as pd
import pytest
from tests.conftest import read_rows

from actiondiff.paper.datasets import samples

SCRIPT = Path(__file__).parents[4] / "tools" / "make_samples.py"
FOLDER = Path(samples.__file__).parent


def contents(folder):
    paths = (path for path in folder.rglob("*") if path.suffix in {".csv", ".txt"})
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_files_are_what_the_script_makes(tmp_path):
    runpy.run_path(str(SCRIPT))["main"](tmp_path)
    made = contents(tmp_path)
    assert len(made) == 4 + 3 + 2 + 12
    assert made == contents(FOLDER)


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_published_video_or_subject_is_among_them(shared_dir, split):
    name = f"charades_ego/CharadesEgo_v1_{split}.csv"
    made, published = read_rows(FOLDER / name), read_rows(shared_dir / "annotations" / name)
    assert list(made[0]) == list(published[0])
    for column in ("id", "subject"):
        assert not {row[column] for row in made} & {row[column] for row in published}


def test_no_published_clip_of_animal_kingdom_is_among_them(shared_dir):
    book = shared_dir / "annotations" / "animal_kingdom" / "AR_metadata.xlsx"
    for sheet in ("AR", "CARe"):
        published = pd.read_excel(book, sheet_name=sheet, dtype=str)
        made = read_rows(FOLDER / "animal_kingdom" / f"{sheet}.csv")
        assert set(made[0]) <= set(published.columns)
        assert not {row["video_id"] for row in made} & set(published["video_id"])
