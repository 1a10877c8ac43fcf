"""Animal Kingdom from made-up files with the quirks of the real spreadsheet, and from ones gone wrong."""

from collections import Counter

import openpyxl
import pytest

from actiondiff.errors import TableError, UnknownNameError, UsageError
from actiondiff.paper.datasets.animal_kingdom import (
    ANIMAL_KINGDOM,
    ANIMAL_TYPES,
    SOURCE_TYPES,
    TARGET_TYPES,
    UNSEEN_ACTIONS,
    read_animal_kingdom,
    taxonomic_distances,
)


def by_id(table):
    return {example.name.removesuffix(".mp4"): example for example in table.examples}


def groups(table, split):
    return {example.group for example in table.examples if example.split == split}


@pytest.fixture(scope="module")
def full(samples):
    return read_animal_kingdom(samples["animal-kingdom"])


@pytest.fixture
def broken(samples, tmp_path):
    """A copy of the spreadsheet after a change by `edit(book)`."""

    def change(edit):
        book = openpyxl.load_workbook(next(samples["animal-kingdom"].rglob("*.xlsx")))
        edit(book)
        book.save(tmp_path / "AR_metadata.xlsx")
        return tmp_path

    return change


def test_labels_are_text_with_commas(full):
    clips = by_id(full)
    assert clips["TWOLABEL"].labels == ("Attending", "Eating")  # "1,31", never 131 nor 1.31
    assert clips["ONLYMOVE"].labels == ("Moving",)
    assert full.multi_label
    assert full.labels_are_complete


def test_a_label_may_have_become_a_number(broken):
    def edit(book):
        cells = [row[3] for row in book["AR"].iter_rows(min_row=2) if row[3].value == "48"]
        cells[0].value = 48

    assert Counter(read_animal_kingdom(broken(edit)).counts())["Moving"] > 1


def test_the_action_without_a_label_has_the_one_that_is_left(full):
    assert len(full.label_names) == 140
    assert full.label_names[139] == "Zigzagging"
    assert full.label_names[0] == "Ambling"
    assert by_id(full)["LABELSAY"].labels == ("Zigzagging", "Lying on its side")  # labels count, not pairs
    assert not full.counts()["Clasping paws"]  # a class without clips is a class


def test_pairs_in_lists_within_lists(full):
    clips = by_id(full)
    assert clips["QUOTEONE"].columns["animal"] == "Keeper's Viper"  # AR has "Keeper'S Viper"
    assert clips["QUOTETWO"].columns["animals"] == "Baker's Antelope"
    assert clips["QUOTEDUP"].columns["animals"] == "Miller's Duck"
    assert clips["QUOTEDUP"].columns["animal_type"] == "water_birds"


def test_a_clip_without_animals_keeps_its_labels(full):
    clip = by_id(full)["NOANIMAL"]
    assert (clip.columns["animal"], clip.columns["animals"], clip.columns["animal_type"]) == ("", "", "")
    assert clip.labels == ("Keeping still", "Hovering", "Trotting")


def test_animals_are_joined_in_any_case_and_by_their_other_names(full):
    found = Counter(clip.columns["animal"] for clip in full.examples)
    assert (found["Common Quail Bird"], found["Common Cuckoo Bird"]) == (2, 1)
    assert not {"Common Quail", "Cuckoo Bird"} & set(found)
    for clip in full.examples:
        named = clip.columns["animal"]
        assert bool(named) == bool(clip.columns["parent_class"]), clip


def test_groups_are_the_last_four_letters(full):
    clips = by_id(full)
    assert clips["TWOLABEL"].group == "ABEL"
    assert groups(full, "train") & groups(full, "test")


def test_unseen_species_is_the_rule_of_the_released_code(samples):
    table = read_animal_kingdom(samples["animal-kingdom"], protocol="unseen-species")
    assert not table.multi_label
    assert len(table.label_names) == 140
    assert set(table.counts()) == set(UNSEEN_ACTIONS)
    for split, types in (("train", SOURCE_TYPES), ("test", TARGET_TYPES)):
        clips = [clip for clip in table.examples if clip.split == split]
        assert {clip.columns["animal_type"] for clip in clips} == set(types)
        assert {clip.columns["official_split"] for clip in clips} == {"train", "test"}  # pooled
    assert "TWOLABEL" not in by_id(table)  # two labels


def test_the_nine_types_are_domains(samples):
    table = read_animal_kingdom(samples["animal-kingdom"], protocol="animal-types")
    assert set(table.values("animal_type")) == set(ANIMAL_TYPES)
    assert set(table.values("split")) == {""}
    distances = taxonomic_distances(table)
    assert len(distances) == 81
    assert distances["birds", "birds"] == 0
    assert distances["birds", "water_birds"] == distances["water_birds", "birds"] == 1
    assert distances["snakes", "lizards"] == distances["spiders", "orthopterans"] == 2
    assert distances["fish", "birds"] == 3


def test_source_disjoint_variants_share_no_group(samples):
    folder = samples["animal-kingdom"]
    official = read_animal_kingdom(folder, protocol="unseen-species")
    ours = read_animal_kingdom(folder, protocol="unseen-species-source-disjoint")
    assert groups(official, "train") & groups(official, "test")
    assert not groups(ours, "train") & groups(ours, "test")
    assert [c for c in ours.examples if c.split == "test"] == [
        c for c in official.examples if c.split == "test"
    ]
    left_out = len(official) - len(ours)
    assert 0 < left_out < 10
    whole = read_animal_kingdom(folder, protocol="full-source-disjoint")
    assert not groups(whole, "train") & groups(whole, "test")
    assert len(whole) == 216
    assert abs(whole.counts("split")["test"] - 54) <= 5
    assert whole.examples == read_animal_kingdom(folder, protocol="full-source-disjoint").examples


def test_care_has_its_own_clips_each_once(samples, full):
    table = read_animal_kingdom(samples["animal-kingdom"], protocol="care")
    assert dict(table.counts("split")) == {"train": 8, "val": 4, "test": 5}  # 16 training rows
    assert not set(by_id(table)) & set(by_id(full))
    assert all(clip.columns["animal_class"][0] != " " for clip in table.examples)
    assert table.label_names[0] == "CARe action 0"
    assert not table.multi_label
    assert by_id(table)["PONYCARE"].columns["sub_class"] == "Pony"


def test_the_spreadsheet_may_be_given_itself(samples, full):
    path = next(samples["animal-kingdom"].rglob("*.xlsx"))
    assert len(read_animal_kingdom(path)) == len(full)


def test_unknown_protocols_and_folders(samples, tmp_path):
    with pytest.raises(UnknownNameError, match="unseen-species"):
        read_animal_kingdom(samples["animal-kingdom"], protocol="unseen_species")
    with pytest.raises(UsageError, match="there is no folder"):
        read_animal_kingdom(tmp_path / "gone")
    with pytest.raises(TableError, match=r"AR_metadata\.xlsx .* is missing.*datasets check"):
        read_animal_kingdom(tmp_path)


def test_a_file_that_is_no_spreadsheet(tmp_path):
    (tmp_path / "AR_metadata.xlsx").write_text("<html>please log in</html>")
    with pytest.raises(TableError, match="cannot be read as a spreadsheet"):
        read_animal_kingdom(tmp_path)


def test_problems_of_the_spreadsheet_are_listed_by_row(broken):
    def edit(book):
        sheet = book["AR"]
        sheet["D2"] = "2;40"
        sheet["D3"] = "140"
        sheet["C4"] = "Train?"
        sheet["E5"] = "[('Fox',"
        sheet["B7"] = sheet["B6"].value
        book["CARe"]["B2"] = "holdout"

    with pytest.raises(TableError) as error:
        read_animal_kingdom(broken(edit))
    said = "\n".join(error.value.problems)
    for row in (2, 3, 4, 5):
        assert f"AR row {row}:" in said
    assert "several times" in said
    assert "CARe row 2" in said
    assert len(error.value.problems) == 6


def test_sheets_columns_and_labels_that_are_missing(broken):
    with pytest.raises(TableError, match="the sheets CARe are missing"):
        read_animal_kingdom(broken(lambda book: book.remove(book["CARe"])))
    with pytest.raises(TableError, match="sheet AR: the columns labels are missing"):
        read_animal_kingdom(broken(lambda book: setattr(book["AR"]["D1"], "value", "label")))

    def two_without(book):
        book["Action"]["A2"] = None

    with pytest.raises(TableError, match=r"should have the labels 0 to 139; without one: .*Zigzagging"):
        read_animal_kingdom(broken(two_without))


def test_every_protocol_can_be_read(samples):
    for name in ANIMAL_KINGDOM.protocols:
        assert len(read_animal_kingdom(samples["animal-kingdom"], protocol=name))
