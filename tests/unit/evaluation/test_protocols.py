"""Splits: groups whole, nobody's place depends on the order, nothing is drawn that the table decides."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actiondiff.datasets.base import Table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.evaluation.leakage import audit
from actiondiff.evaluation.protocols import Split, group_of, split_examples
from actiondiff.types import Example

LABELS = ("eat", "run", "sit")


def table(*examples: Example) -> Table:
    return Table(Path("t.csv"), Path(), examples)


def clips(count=30, **columns) -> Table:
    """`count` clips, labels in turn, two clips a recording, sites in thirds."""
    return table(
        *(
            Example(
                f"{i:02d}.mp4",
                (LABELS[i % 3],),
                group=f"g{i // 6}{i % 3}",
                columns={"site": "nse"[i * 3 // count]},
            )
            for i in range(count)
        )
    )


def names(clips: Table, indices) -> set[str]:
    return {clips.examples[i].video for i in indices}


def sides(clips: Table, split: Split) -> dict[str, set[str]]:
    return {side: names(clips, getattr(split, side)) for side in ("train", "validation", "test")}


@st.composite
def tables(draw):
    """Multi-label clips in groups; every class has three groups at least."""
    some_labels = st.sets(st.sampled_from(LABELS), min_size=1).map(sorted).map(tuple)
    first = [Example(f"{i}.mp4", (LABELS[i % 3],), group=f"g{i}") for i in range(9)]
    more = draw(st.lists(st.tuples(some_labels, st.integers(0, 12)), max_size=30))
    return table(*first, *(Example(f"m{i}.mp4", found, group=f"g{g}") for i, (found, g) in enumerate(more)))


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_drawn_sides_are_a_partition_by_groups_in_any_order(clips, seed, random):
    split = split_examples(clips, seed=seed)
    used = [*split.train, *split.validation, *split.test]
    assert sorted(used) == list(range(len(clips)))
    groups = [
        {group_of(clips.examples[i]) for i in side} for side in (split.train, split.validation, split.test)
    ]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    shuffled = list(clips.examples)
    random.shuffle(shuffled)
    assert sides(table(*shuffled), split_examples(table(*shuffled), seed=seed)) == sides(clips, split)


@pytest.mark.parametrize("seed", range(20))
def test_no_class_is_drawn_out_of_training(seed):
    """`run` is in two groups only, each of which counts for a rarer class."""
    groups = [("eat", "run"), ("eat",), ("sit", "run"), ("sit",)]
    few = table(
        *(Example(f"{g}{i}.mp4", labels, group=str(g)) for g, labels in enumerate(groups) for i in range(4)),
        *(Example(f"x{i}.mp4", ("run",), group="0") for i in range(9)),
    )
    split = split_examples(few, seed=seed, validation_share=0.5, test_share=0.5)
    assert {label for i in split.train for label in few.examples[i].labels} == set(LABELS)
    assert split.test


def test_shares_and_strata():
    split = split_examples(clips(300), seed=1, test_share=0.2, validation_share=0.25)
    assert (len(split.train), len(split.validation), len(split.test)) == (180, 60, 60)
    for side in (split.train, split.validation, split.test):
        assert {sum(i % 3 == label for i in side) for label in range(3)} == {len(side) // 3}


def test_the_seed_draws_anew():
    drawn = {split_examples(clips(), seed=seed).test for seed in range(5)}
    assert len(drawn) > 1


def test_other_clips_do_not_move_a_group():
    """A hash of the group's own name decides: what is added to one class leaves the others' places."""
    before = clips(60)
    more = [Example(f"x{i}.mp4", ("fly",)) for i in range(10)]
    after = table(*more, *before.examples)
    old, new = (sides(t, split_examples(t)) for t in (before, after))
    assert all(old[side] == {name for name in new[side] if not name.startswith("x")} for side in old)


def test_the_split_column_decides():
    marks = ["train", "train", "val", "test", "", "train"]
    marked = table(*(Example(f"{i}.mp4", (LABELS[i % 2],), split=mark) for i, mark in enumerate(marks)))
    split = split_examples(marked)
    assert (split.train, split.validation, split.test) == ((0, 1, 5), (2,), (3,))
    assert "split column" in split.description
    assert "1 clip without a mark" in split.description  # it is left out, and told of


def test_clips_marked_for_testing_never_train():
    """With test marks alone, all that is unmarked trains; nothing is drawn for testing."""
    marks = ["test" if i % 5 == 0 else "" for i in range(20)]
    marked = table(*(Example(f"{i}.mp4", (LABELS[i % 2],), split=mark) for i, mark in enumerate(marks)))
    split = split_examples(marked)
    assert set(split.test) == {0, 5, 10, 15}
    assert not set(split.test) & {*split.train, *split.validation}


def test_without_a_mark_validation_is_held_out_of_training():
    marked = table(
        *(Example(f"{i}.mp4", (LABELS[i % 2],), split="test" if i >= 20 else "train") for i in range(24))
    )
    split = split_examples(marked, validation_share=0.2)
    assert split.test == (20, 21, 22, 23)
    assert len(split.validation) == 4
    assert not split_examples(marked, validation_share=0).validation


def test_domains():
    split = split_examples(clips(), domain="site", source=["n"], target=["e"])
    sites = [clips().examples[i].columns["site"] for i in (*split.train, *split.validation)]
    assert set(sites) == {"n"}
    assert {clips().examples[i].columns["site"] for i in split.test} == {"e"}
    assert split.description.startswith("site: n -> e")
    rest = split_examples(clips(), domain="site", source=["n"], target="rest")
    assert {clips().examples[i].columns["site"] for i in rest.test} == {"s", "e"}


def test_source_clips_marked_for_testing_are_left_out():
    shifted = table(
        *(
            Example(
                f"{i}.mp4",
                (LABELS[i % 2],),
                split=("train", "val", "test")[i % 3],
                columns={"site": "ns"[i // 12]},
            )
            for i in range(24)
        )
    )
    split = split_examples(shifted, domain="site", source=["n"])
    assert split.train == (0, 3, 6, 9)
    assert split.validation == (1, 4, 7, 10)
    assert split.test == tuple(range(12, 24))


def test_unlabelled_clips_are_left_out():
    some = table(*clips(12).examples, Example("no.mp4"))
    split = split_examples(some)
    assert 12 not in {*split.train, *split.validation, *split.test}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"domain": "sit", "source": ["n"]}, UnknownNameError, "'site'"),
        ({"domain": "site", "source": ["north"]}, UnknownNameError, "Known: e, n, s"),
        ({"domain": "site", "source": ["n"], "target": ["w"]}, UnknownNameError, "'w'"),
        ({"domain": "site", "source": ["n"], "target": ["n", "s"]}, UsageError, "both source and target"),
        ({"domain": "site", "source": ["n", "s", "e"]}, UsageError, "none is left to test"),
    ],
)
def test_what_does_not_exist(options, error, said):
    with pytest.raises(error, match=said):
        split_examples(clips(), **options)


def test_too_few_groups_to_keep_any_are_said():
    """Two recordings, a behaviour each: none can be kept without losing a class."""
    known = table(*(Example(f"{i}.mp4", (LABELS[i % 2],), group=f"g{i % 2}") for i in range(8)))
    split = split_examples(known, seed=0)
    assert (len(split.train), split.validation, split.test) == (8, (), ())
    assert split.description.count("every group is the last one of some class") == 2
    assert "drawn" not in split.description
    told = split_examples(clips(), seed=0).description
    assert told.startswith("20% of the groups drawn for testing; validation: 20%")


def test_nothing_to_learn():
    with pytest.raises(UsageError, match="no labels"):
        split_examples(table(Example("a.mp4"), Example("b.mp4")))
    with pytest.raises(UsageError, match="only the class 'eat'"):
        split_examples(table(*(Example(f"{i}.mp4", ("eat",)) for i in range(9))))
    with pytest.raises(UsageError, match="no clip"):
        split_examples(table(*(Example(f"{i}.mp4", (LABELS[i % 3],), split="test") for i in range(9))))


def test_audit_finds_groups_and_contents_on_both_sides():
    examples = [
        Example("a.mp4", ("eat",), group="bella"),
        Example("b.mp4", ("run",), group="rex"),
        Example("c.mp4", ("eat",), group="bella"),
        Example("copy of b.mp4", ("run",), group="other"),
        Example("d.mp4", ("run",), group="kira"),
        Example("not stored.mp4", ("eat",), group="bella"),
    ]
    split = Split(train=(0, 1), validation=(2,), test=(3, 4, 5), description="")
    identities = {"a.mp4": "1", "b.mp4": "2", "c.mp4": "3", "copy of b.mp4": "2", "d.mp4": "5"}
    found = {
        (leak.kind, leak.name, leak.sides, leak.num_clips) for leak in audit(examples, split, identities)
    }
    assert found == {
        ("group", "bella", "train/validation", 1),
        ("group", "bella", "train/test", 1),
        ("group", "bella", "validation/test", 1),
        ("content", "copy of b.mp4", "train/test", 1),
    }
    assert not audit(examples, Split((0, 1), (), (4,), ""), identities)


def test_the_same_clips_at_other_paths_are_split_in_the_same_way():
    here = [Example(f"{i:02d}.mp4", (LABELS[i % 3],)) for i in range(30)]
    there = [Example(f"../data/{e.video}", e.labels) for e in here]
    split, moved = (split_examples(table(*rows), seed=4) for rows in (here, there))
    assert (split.train, split.validation, split.test) == (moved.train, moved.validation, moved.test)
    drawn = [split_examples(table(*rows), seed=4, train_clips=9).train for rows in (here, there)]
    assert drawn[0] == drawn[1]
    one_name = [Example(f"{n}/clip.mp4", (LABELS[n % 3],)) for n in range(12)]
    assert len(split_examples(table(*one_name)).test) == 3  # clips of one name are not one group
