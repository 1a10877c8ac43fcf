"""Make the sample annotations of `actiondiff.paper.datasets.samples`; nothing in them is published data.

    python tools/make_samples.py [FOLDER]

Every id, animal, film, subject, time and text is invented here, from word lists and a fixed seed. What the
files share with the published ones is their form: columns, separators, spelling, and the irregularities that
the readers have to handle. Names that the readers look up (six actions and nine animal types of Animal
Kingdom, fifteen classes of UCF101, twelve of HMDB51) are in the readers, and are taken from there. The files
are checked in; a test runs this script and compares.
"""

import csv
import io
import random
import string
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from actiondiff.paper.datasets.animal_kingdom import ANIMAL_TYPES, UNSEEN_ACTIONS
from actiondiff.paper.datasets.ucf_hmdb import SHARED_CLASSES

SEED = 15
FOLDER = Path(__file__).parents[1] / "src/actiondiff/paper/datasets/samples"


def words(text: str) -> list[str]:
    """The parts of a text between semicolons."""
    return text.split(";")


# Animal Kingdom
NUM_ACTIONS, NUM_CLIPS, NUM_TEST_CLIPS = 140, 216, 54
BROKEN_LABEL = "=#N/A"  # the label of one published action is this text
CATEGORIES = {
    "Contact": "Clasping paws;Huddling;Nudging;Leaning on another;Nuzzling;Shoving;Tripping another",
    "Food": "Chewing;Cracking a shell;Gnawing;Hoarding;Sipping;Swallowing;Tearing;Sniffing food;Begging",
    "General": "Blinking;Freezing;Hiccuping;Scratching;Shivering;Sneezing;Stretching;Wriggling;Twitching",
    "Posture": "Bending down;Crouching;Kneeling;Lying on its side;Perching;Rearing up;Slumping;Standing tall",
    "Sound": "Bellowing;Clicking;Croaking;Drumming;Growling;Humming;Screeching;Snorting;Whistling;Buzzing",
    "Travel": "Ambling;Bounding;Burrowing;Creeping;Darting;Drifting along;Galloping;Hovering;Leaping;"
    "Paddling;Scrambling;Skidding;Slithering;Soaring;Sprinting;Strolling;Trotting;Wading;Zigzagging",
    "Work": "Dragging a twig;Laying a trail;Lining a nest;Stacking stones;Weaving;Rolling a ball;Patrolling",
}
PARTS = (
    "wings",
    "tail",
    "head",
    "ears",
    "claws",
    "beak",
    "fins",
    "neck",
    "paws",
    "back",
    "legs",
    "eyes",
    "antennae",
)
FREQUENT = ("Croaking", "Trotting")  # further actions with enough clips to learn them
UNNUMBERED = "Zigzagging"  # the last name in the order of the alphabet, so that its number is 139
PARENTS = {  # animal type -> parent class, class, words for its animals
    "birds": ("Bird", "Bird", "Finch Warbler Thrush Lark Shrike"),
    "fish": ("Fish", "Fish", "Goby Wrasse Carp Blenny Perch"),
    "frogs": ("Amphibian", "Amphibian", "Frog Toad Treefrog Spadefoot Bullfrog"),
    "snakes": ("Reptile", "Reptile / Snake", "Viper Adder Boa Mamba Ratsnake"),
    "lizards": ("Reptile", "Reptile", "Lizard Gecko Iguana Skink Chameleon"),
    "primates": ("Mammal", "Mammal", "Langur Macaque Gibbon Lemur Baboon"),
    "spiders": ("Insect", "Insect / Spider", "Spider Orbweaver Tarantula Jumper Recluse"),
    "orthopterans": ("Insect", "Insect", "Cricket Mantis Grasshopper Katydid Leafhopper"),
    "water_birds": ("Bird", "Bird", "Duck Goose Swan Teal Grebe"),
}
LOOKS = words("Amber;Banded;Chalky;Dappled;Elder;Furrowed;Gilded;Hooded;Ivory;Lowland;Marbled;Northern;Ochre")
# Animals of no type, and those whose names are irregular: name, parent class, class, sub-class.
OTHER_ANIMALS = (
    ("Bird", "Bird", "Bird", "Bird"),
    ("Common Quail Bird", "Bird", "Bird", "Bird"),
    ("Common Cuckoo Bird", "Bird", "Bird", "Bird"),
    ("Avis minuta Bird", "Bird", "Bird", "Bird"),
    ("Amber Crane", "Bird", "Bird", "Bird"),
    ("Snake of sand", "Reptile", "Reptile / Snake", ANIMAL_TYPES["snakes"]),
    ("Keeper's Viper", "Reptile", "Reptile / Snake", ANIMAL_TYPES["snakes"]),
    ("Miller's Duck", "Bird", "Bird", ANIMAL_TYPES["water_birds"]),
    ("Baker's Antelope", "Mammal", "Mammal", "Deer / Antelope"),
    ("Hill Pony", "Mammal", "Mammal", "Pony"),
    ("Hill Pony Young", "Mammal", "Mammal", "Pony"),
    ("Pebble Crab", "Sea animal", "Sea animal / Crab", "Crab"),
    ("Larva", "Insect", "Insect / Larva / Pupa", "Larva / Pupa"),
)


def write_animal_kingdom(folder: Path, rng: random.Random) -> None:
    """The four sheets of AR_metadata.xlsx, as CSV."""
    texts = [name for names in CATEGORIES.values() for name in names.split(";")]
    moves = [
        f"{verb} its {part}"
        for part in PARTS
        for verb in ("Raising", "Shaking", "Cleaning", "Showing", "Tucking in", "Rubbing")
    ]
    actions = sorted({*texts, *UNSEEN_ACTIONS, *moves[: NUM_ACTIONS - len(texts) - len(UNSEEN_ACTIONS)]})
    label = {name: number for number, name in enumerate(actions)}
    of = {name: category for category, names in CATEGORIES.items() for name in names.split(";")}
    rows = sorted((of.get(name, "Body"), name) for name in actions)
    numbered = ((BROKEN_LABEL if name == UNNUMBERED else label[name], of_, name) for of_, name in rows)
    write_csv(folder / "Action.csv", ("Label", "Category", "Action"), numbered)

    animals = {
        kind: [f"{look} {noun}" for noun, look in zip(nouns.split(), rng.sample(LOOKS, 5), strict=True)]
        for kind, (_, _, nouns) in PARENTS.items()
    }
    sheet = [
        (name, *PARENTS[kind][:2], ANIMAL_TYPES[kind]) for kind, names in animals.items() for name in names
    ]
    write_csv(
        folder / "Animal.csv",
        ("Animal", "Parent Class", "Class", "Sub-Class"),
        sorted([*sheet, *OTHER_ANIMALS]),
    )

    train, test = _clips(animals, label, rng)
    rows = [(number, *row) for number, row in enumerate([*train, *test], start=1)]
    write_csv(folder / "AR.csv", ("S/N", "video_id", "type", "labels", "list_animal_action"), rows)
    columns = ("S/N", "train_test", "animal_class", "animal_sub_class", "animal", "video_id", "action")
    write_csv(
        folder / "CARe.csv",
        columns,
        ((number, *row) for number, row in enumerate(_care(animals, rng), start=1)),
    )


def _clips(
    animals: dict[str, list[str]], label: dict[str, int], rng: random.Random
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Rows of the AR sheet: clips with one of the six actions, several labels, and irregular ones."""
    clips: dict[str, list[tuple[str, ...]]] = {"train": [], "test": []}

    def add(video: str, split: str, actions: Sequence[str], pairs: object) -> None:
        # The published sheet writes an animal with a capital after every apostrophe: Keeper'S Viper.
        clips[split].append((video, split, ",".join(str(label[name]) for name in actions), str(pairs)))

    def nested(*groups: Sequence[tuple[str, str]]) -> str:
        return str([str(list(group)) for group in groups])

    add(
        "TWOLABEL",
        "train",
        ("Attending", "Eating"),
        [("Amber Crane", "Attending"), ("Amber Crane", "Eating")],
    )
    add("ONLYMOVE", "train", ("Moving",), [("Snake Of Sand", "Moving")])
    add(
        "LABELSAY",
        "train",
        (UNNUMBERED, "Lying on its side"),
        [("Hill Pony Young", "Kneeling"), ("Hill Pony", UNNUMBERED)],
    )
    add("NOANIMAL", "train", ("Keeping still", "Hovering", "Trotting"), [])
    add("QUOTEONE", "train", ("Keeping still",), nested([("Keeper'S Viper", "Keeping still")]))
    add(
        "QUOTETWO",
        "train",
        ("Trotting", "Sprinting"),
        nested([("Baker'S Antelope", "Trotting")], [("Baker'S Antelope", "Sprinting")]),
    )
    add(
        "QUOTEDUP",
        "train",
        ("Sensing",),
        nested([("Miller'S Duck", "Sensing"), ("Miller'S Duck", "Sensing")]),
    )
    add("QUAILONE", "train", ("Sensing",), [("Common Quail", "Sensing")])
    add("QUAILTWO", "train", ("Moving",), [("Common Quail", "Moving")])
    add("CUCKOOBD", "test", ("Attending",), [("Cuckoo Bird", "Attending")])
    add("LATINBRD", "train", ("Attending",), [("Avis Minuta Bird", "Attending")])
    add("CRABBIRD", "train", ("Shoving",), [("Pebble Crab", "Shoving"), ("Bird", "Being Shoved")])

    used: set[str] = {row[0] for rows in clips.values() for row in rows}
    keys = {name: letters(rng, 4) for names in animals.values() for name in names}
    # A source film may show animals of two types, of which one trains and the other tests.
    keys[animals["water_birds"][0]] = keys[animals["birds"][0]]

    def add_plain(kind: str, actions: Sequence[str], split: str) -> None:
        animal = rng.choice(animals[kind])
        add(
            unused(rng, keys[animal], used), split, actions, [(animal, name.capitalize()) for name in actions]
        )

    for index, kind in enumerate(animals):
        for place, action in enumerate(UNSEEN_ACTIONS):
            for _ in range(2 + (index + place) % 2):  # actions are not equally frequent in all types
                add_plain(kind, (action,), "train")
    for index, kind in enumerate(animals):
        for place, action in enumerate(UNSEEN_ACTIONS):
            if (index + place) % 5:
                add_plain(kind, (action,), "test")
    others = [name for name in label if name not in UNSEEN_ACTIONS and name != "Clasping paws"]
    for split, count in (("test", NUM_TEST_CLIPS), ("train", NUM_CLIPS - NUM_TEST_CLIPS)):
        while len(clips[split]) < count:
            more = rng.sample(FREQUENT, 1) if rng.random() < 0.7 else rng.sample(others, rng.randint(1, 2))
            actions = (rng.choice(UNSEEN_ACTIONS), *more)
            add_plain(rng.choice(list(animals)), actions, split)
    return sorted(clips["train"]), sorted(clips["test"])


def _care(animals: dict[str, list[str]], rng: random.Random) -> Iterator[tuple[object, ...]]:
    """Rows of the CARe sheet: clips of its own, training clips twice; classes begin with a blank."""
    used: set[str] = set()

    def row(kind: str, split: str) -> tuple[object, ...]:
        sub_class = ANIMAL_TYPES[kind].replace(" / ", "_")
        animal = rng.choice(animals[kind]).title()
        return (split, f" {PARENTS[kind][1]}", sub_class, animal, unused(rng, "CARE", used), rng.randrange(8))

    training = [
        row(kind, f"train_{ANIMAL_TYPES[kind].replace(' / ', '_').lower()}")
        for kind in ("fish", "fish", "snakes", "snakes", "birds", "birds", "frogs", "frogs")
    ]
    yield from training
    yield ("test", " Mammal", "Pony", "Hill Pony", "PONYCARE", 2)
    yield from (row(kind, "test") for kind in ("spiders", "primates", "lizards", "water_birds"))
    yield from (row(kind, "val") for kind in ("birds", "snakes", "fish", "frogs"))
    yield from (("baseline", *rest) for _, *rest in rng.sample(training, len(training)))


# Charades-Ego
NUM_CLASSES = 157
THINGS = words(
    "a lamp;a kettle;a rope;a hat/cap;an umbrella;a ladder;a bucket;a clock;a drum;a letter/parcel;"
    "a plant;a suitcase;a candle;a hammer;a puzzle;a bicycle;a basket;a curtain;a guitar;a rug;a ball;"
    "a scarf;a jar;a map;a toy"
)
DOINGS = ("Lifting {}", "Moving {} somewhere", "Looking at {}", "Cleaning {}", "Repairing {}", "Hiding {}")
PEOPLE = words("humming;clapping;yawning;stretching;dancing;whistling;turning around")
SCENES = words(
    "Attic;Workshop;Balcony;Sunroom;Cellar;Kitchenette;Corridor (A passage between rooms);"
    "Study / Library (A room for reading)"
)
SUBJECTS = words("AB1C;D2EF;GH3J;K4LM;NP5Q;R6ST;UV7W;X8YZ;0ABC;1DEF")
EGO_COLUMNS = (
    "id",
    "subject",
    "scene",
    "quality",
    "relevance",
    "verified",
    "script",
    "objects",
    "descriptions",
    "actions",
    "length",
    "egocentric",
    "charades_video",
)


def write_charades_ego(folder: Path, rng: random.Random) -> None:
    """The list of classes, and the videos of both splits."""
    names = [doing.format(thing) for thing in THINGS for doing in DOINGS] + [
        f"Someone is {what}" for what in PEOPLE
    ]
    write_text(
        folder / "Charades_v1_classes.txt",
        (f"c{number:03} {name}" for number, name in enumerate(names[:NUM_CLASSES])),
    )
    train = _irregular_videos()
    test: list[dict[str, object]] = []
    numbers = iter(range(10, 1000))
    for _ in range(34):
        train += _pair(rng, next(numbers))
    for _ in range(3):
        train += [_pair(rng, next(numbers))[0], _pair(rng, next(numbers))[1]]  # without their other viewpoint
    for number in range(22):
        test += _pair(rng, next(numbers), empty=not number)
    for _ in range(2):
        test += _pair(rng, next(numbers))[1:]
    for name, rows in (("train", train), ("test", test)):
        rng.shuffle(rows)
        write_csv(
            folder / f"CharadesEgo_v1_{name}.csv",
            EGO_COLUMNS,
            ([row[column] for column in EGO_COLUMNS] for row in rows),
        )


def _video(name: str, number: int, actions: str, length: float, **columns: object) -> dict[str, object]:
    ego = name.endswith("EGO")
    usual = {
        "subject": "AB1C",
        "scene": "Attic",
        "quality": 6,
        "relevance": 6,
        "verified": "Yes",
        "objects": "",
        "descriptions": "",
        "charades_video": f"OF{number:03}",
    }
    return {
        **usual,
        "id": name,
        "script": f"Script {number}, made up.",
        "actions": actions,
        "length": f"{length:.2f}",
        "egocentric": "Yes" if ego else "No",
        **columns,
    }


def _irregular_videos() -> list[dict[str, object]]:
    """Videos with one irregularity each; six in the first person, six in the third."""
    return [
        _video("NONE1EGO", 1, "", 35.5),  # no actions
        _video(
            "BACK1EGO", 2, "c060 7.10 14.75;c153 15.20 14.75;c063 11.10 14.75", 19.25
        ),  # ends before it starts
        _video("LONG1EGO", 3, "c026 0.00 11.20;c152 0.00 21.00;c153 0.00 5.50", 20.0),  # ends after the video
        _video(
            "TWICEEGO",
            4,
            "c043 9.50 22.50;c042 7.75 19.80;c042 19.50 23.00;c041 0.00 9.80;c041 7.75 19.50",
            38.0,
            subject="D2EF",
        ),  # one class twice, overlapping
        _video("SAME1EGO", 5, "c032 0.00 9.00;c026 0.00 9.00", 12.0, subject="D2EF"),
        _video("BLANKEGO", 6, "c081 6.25 11.50", 19.0, relevance="", verified="No", charades_video=""),
        _video("SAME1", 5, "c032 0.00 9.00;c026 0.00 9.00", 9.0, subject="D2EF"),
        _video("HOURS", 7, "c152 67.00 118.25;c063 248.50 554.00;c152 1.50 9.25", 726.25, quality=5),  # apart
        _video("BLANK", 6, "c081 3.75 10.25", 21.25, relevance="", verified="No", charades_video=""),
        _video("SHORT", 8, "c006 0.00 3.50", 5.0),
        _video("NONE1", 1, "c152 0.00 32.25;c033 0.00 32.25", 32.25),  # the third person of the first
        _video("ROOM1", 9, "c016 0.25 4.75;c016 0.00 22.50", 31.5, scene=SCENES[-1]),
    ]


def _pair(rng: random.Random, number: int, *, empty: bool = False) -> list[dict[str, object]]:
    """A script filmed in the third person and in the first; some classes are much more frequent."""
    length = round(rng.uniform(8, 40), 2)
    name, subject, scene = letters(rng, 3) + f"{number:02}"[-2:], rng.choice(SUBJECTS), rng.choice(SCENES)
    classes = [
        round(NUM_CLASSES * rng.random() ** 1.5) % NUM_CLASSES // 8 * 8 for _ in range(rng.randint(2, 5))
    ]

    def actions() -> str:
        starts = [round(rng.uniform(0, 0.7 * length), 1) if rng.random() < 0.7 else 0.0 for _ in classes]
        spans = [(start, min(length, start + rng.uniform(3, length))) for start in starts]
        return ";".join(f"c{c:03} {a:.2f} {b:.2f}" for c, (a, b) in zip(classes, spans, strict=True))

    third = _video(name, number, actions(), length, subject=subject, scene=scene)
    # Times of a first-person video are cut at the length of the other one, as in the published files.
    first = _video(
        f"{name}EGO",
        number,
        "" if empty else actions(),
        length + round(rng.uniform(-1, 9), 2),
        subject=subject,
        scene=scene,
    )
    return [third, first]


# UCF101 and HMDB51
FILM_LOOKS = words("Red;Old;Slow;Quiet;Long;Green")
FILM_THINGS = words("Barn;Ferry;Garden;Train;Mill;Kitchen;Bridge")
FILM_FORMS = ("{}", "{}_2", "(HQ)_{}", "{}", "{}_&_Son", "{}#7", "{}!", "{}(Remix)", "{}_-_a_film_", "{}_3")
TWICE_NAMED = "Slow_Train_-_Part_1_[HD]"  # once also as the name of a file: ..._avi


def write_ucf101(folder: Path) -> None:
    """Split 1: groups 1 to 3 test, 8 to 13 train; and a class of files that are spelt unlike their folder."""
    classes = sorted([*(name for several in SHARED_CLASSES.values() for name in several), "HandstandPushups"])
    odd = {"HandstandPushups": "HandStandPushups"}
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number, name in enumerate(classes, start=1):
        for group in (8, 9) if name in odd else range(8, 14):
            lines["train"].append(f"{name}/v_{odd.get(name, name)}_g{group:02}_c01.avi {number}")
        lines["test"] += [f"{name}/v_{name}_g{group:02}_c01.avi" for group in range(1, 4) if name not in odd]
    for split, rows in lines.items():
        write_text(folder / f"{split}list01.txt", rows)


def write_hmdb51(folder: Path, rng: random.Random) -> None:
    """One list per class: six clips train, three test, one does neither. Lines end with a blank."""
    for name in SHARED_CLASSES:
        pairs = rng.sample(
            [f"{look}_{thing}" for look in FILM_LOOKS for thing in FILM_THINGS], len(FILM_FORMS)
        )
        films = [form.format(pair) for form, pair in zip(FILM_FORMS, pairs, strict=True)]
        films[1] = films[0]  # several clips of one film
        if name == "fencing":
            films[3], films[6] = f"{TWICE_NAMED}_avi", TWICE_NAMED
        rows = []
        for index, (film, mark) in enumerate(zip(films, "1111112220", strict=True)):
            people = 10 if index == 5 else rng.randint(1, 3)
            parts = (words("f;u;h;l"), words("cm;nm"), words("ba;fr;le;ri"), words("bad;med;goo"))
            body, camera, side, quality = (rng.choice(part) for part in parts)
            rows.append(f"{film}_{name}_{body}_{camera}_np{people}_{side}_{quality}_{index}.avi {mark} ")
        write_text(folder / f"{name}_test_split1.txt", sorted(rows))


def letters(rng: random.Random, count: int) -> str:
    """Capital letters."""
    return "".join(rng.choices(string.ascii_uppercase, k=count))


def unused(rng: random.Random, key: str, used: set[str]) -> str:
    """A clip id that ends with the key of its source video."""
    while (name := letters(rng, 4) + key) in used:
        pass
    used.add(name)
    return name


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table; fields are quoted where they have to be."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    path.write_text(buffer.getvalue(), "utf-8", newline="\n")


def write_text(path: Path, lines: Iterable[str]) -> None:
    """Write lines."""
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")


def main(folder: Path) -> None:
    """Write all files."""
    for name in ("animal_kingdom", "charades_ego", "ucf101", "hmdb51"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_animal_kingdom(folder / "animal_kingdom", random.Random(SEED))
    write_charades_ego(folder / "charades_ego", random.Random(SEED))
    write_ucf101(folder / "ucf101")
    write_hmdb51(folder / "hmdb51", random.Random(SEED))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
