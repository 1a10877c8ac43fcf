"""Pages of predictions whose records are odd, but sound."""

import json

import pytest
from PIL import Image

from actiondiff.report.html import render
from actiondiff.report.prediction_report import prediction_page

HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def page(folder, *, labels=("eat", "walk"), videos=(), kind="timelines", **facts) -> str:
    """HTML of the page of a record."""
    record = {
        "format": 1, "kind": kind, "run": "runs/x", "model": "actiondiff", "labels": list(labels),
        "activation": "softmax", "abstain_below": 0.0, "options": {"background": "background"},
        "thresholds": {}, "made": "2026-01-02T03:04:05+00:00", "videos": list(videos), "scores": None,
        "calibration": None, "environment": {}, **facts,
    }  # fmt: skip
    (folder / "predicted.json").write_text(json.dumps(record), "utf-8")
    return render(prediction_page(folder))


def video(name="a.mp4", **facts):
    return {"video": name, "status": "ok", "reason": "", "coverage": 1.0, "padding_share": 0.0, **facts}


def timed(bouts, truth=None, name="a.mp4"):
    return video(name, end_seconds=9.0, bouts=bouts, truth=truth)


def test_background_that_a_person_labelled_is_no_behaviour(tmp_path):
    truth = [["eat", 0.0, 3.0, 1.0], ["background", 3.0, 9.0, 1.0]]
    labels = ("background", "eat", "walk")
    text = page(tmp_path, labels=labels, videos=[timed([["eat", 0.0, 4.0, 0.9]], truth)])
    assert "labelled: eat 33.3 %, walk 0.0 %" in text


def test_no_bouts_and_one_behaviour(tmp_path):
    text = page(tmp_path, labels=["eat"], videos=[timed([])])
    assert "Transitions" not in text
    assert "Nothing was predicted." in text
    assert "made on 02 January 2026, 03:04 UTC" in text


@pytest.mark.parametrize(
    ("labels", "third"),
    [(("eat", "walk"), "eat"), (("eat", "walk", "sleep"), "eat"), (("eat", "walk", "sleep"), "sleep")],
)
def test_two_behaviours_only_alternate(tmp_path, labels, third):
    bouts = [["eat", 0.0, 2.0, 0.9], ["walk", 2.0, 4.0, 0.9], [third, 4.0, 6.0, 0.9]]
    text = page(tmp_path, labels=labels, videos=[timed(bouts)])
    assert ("2 transitions within videos" in text) is (third == "sleep")


@pytest.mark.parametrize("tested", [True, False])
def test_the_score_of_the_model_comes_first_even_if_it_is_unknown(tmp_path, tested):
    score = {"model_test": {"sentence": "Better than guessing: 80 %.", "beats_guessing": True}}
    text = page(tmp_path, videos=[timed([["eat", 0.0, 4.0, 0.9]])], **(score if tested else {}))
    lead = text[text.index('<p class="lead">') + len('<p class="lead">') :]
    sentence = (
        "The model&#39;s own test: Better than guessing: 80 %."
        if tested
        else "The model&#39;s own test score is not recorded"
    )
    assert lead.startswith(sentence)


def test_a_behaviour_has_one_colour_throughout_the_page(tmp_path):
    """Also where the background comes before it, which has no colour, here and on the page of the app."""
    labels = ("background", "eat", "walk", "zzz")
    bouts = [["eat", 0.0, 2.0, 0.9], ["walk", 2.0, 4.0, 0.9], ["zzz", 4.0, 6.0, 0.9]]
    text = page(tmp_path, labels=labels, videos=[timed(bouts)])
    for part in ("Ethogram", "Time budget", "Transitions"):
        section = text[text.index(f">{part}</h2>") :].split("</section>")[0]
        assert "var(--series-1)" in section, part
        assert "var(--series-4)" not in section, part
    assert '<span class="swatch" style="background: var(--series-2)"></span>walk' in text


def test_examples_of_many_labels_are_bounded(tmp_path):
    """Each example is decoded, so that a thousand of them would take minutes."""
    labels = [f"b{number}" for number in range(100)]
    videos = [timed([[label, 0.0, 1.0, 0.5]], name=f"{label}.mp4") for label in labels]
    videos[77]["bouts"][0][3] = 0.9
    text = page(tmp_path, labels=labels, videos=videos)
    assert "30 videos were not found, for example b0.mp4" in text
    assert 'class="scroll long"' in text  # the table of all of them is scrolled


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "heatmaps/../../secret.png",
        "{root}/secret.png",
        "heatmaps/link.png",
        "heatmaps/text.png",
    ],
)
def test_a_record_shows_no_picture_from_outside_its_folder(tmp_path, name):
    """A record that somebody else wrote must not bring other files of this machine into a page."""
    folder = tmp_path / "out"
    (folder / "heatmaps").mkdir(parents=True)
    for path in (tmp_path / "secret.png", folder / "heatmaps/own.png"):
        Image.new("RGB", (32, 32), "red").save(path)
    (folder / "heatmaps/link.png").symlink_to(tmp_path / "secret.png")
    (folder / "heatmaps/text.png").write_text("no picture")
    rows = [
        {"picture": picture, "caption": caption}
        for picture, caption in (("heatmaps/own.png", "mine"), (name.format(root=tmp_path), "stolen"))
    ]
    text = page(folder, videos=[timed([["eat", 0.0, 4.0, 0.9]])], heatmaps=rows)
    assert text.count("data:image/jpeg") == 1
    assert "mine" in text
    assert "stolen" not in text
    assert "1 strip is missing from heatmaps" in text


@pytest.mark.parametrize("kind", ["clips", "timelines"])
def test_what_others_wrote_is_not_markup(tmp_path, kind):
    name = f"videos/{HOSTILE}.mp4"
    seen = (
        video(name, probabilities={HOSTILE: 0.9, "走る" * 80: 0.1})
        if kind == "clips"
        else timed([[HOSTILE, 0.0, 4.0, 0.9]], name=name)
    )
    failed = {"video": "b.mp4", "status": "failed", "reason": HOSTILE, "coverage": 0.0}
    text = page(tmp_path, labels=[HOSTILE, "走る" * 80], videos=[seen, failed], kind=kind, run=HOSTILE)
    assert "<img" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 3


@pytest.mark.parametrize(("seconds", "noted"), [(0.2, True), (5.0, False)])
def test_bouts_that_are_shorter_than_what_a_score_sees_are_noted(tmp_path, seconds, noted):
    bouts = [["eat", 5.0 * n, 5.0 * n + seconds, 0.9] for n in range(12)]
    options = {"background": "background", "span_seconds": 2.56, "smooth_seconds": 0.0}
    text = page(tmp_path, videos=[{**timed(bouts), "end_seconds": 70.0}], options=options)
    assert ("--smooth-seconds 2.6 or --min-seconds 1.3" in text) is noted


def test_each_individual_has_a_row_and_a_budget(tmp_path):
    """Of the same name in two videos, or without names, where `1` is another animal in every video."""

    def of(individual, name, bouts):
        return {
            **timed(bouts, name=name),
            "individual": individual,
            "crop": f"crops/{name}-{individual}.crop",
        }

    def table(names) -> str:
        bouts = ([["eat", 0.0, 9.0, 0.9]], [["walk", 0.0, 9.0, 0.9]], [["walk", 0.0, 4.5, 0.9]])
        videos = [of(individual, video, own) for (individual, video), own in zip(names, bouts, strict=True)]
        text = page(tmp_path, videos=videos)
        assert "3 individuals in 2 videos" in text
        assert "3 bouts of 3 individuals" in text
        assert "keep the crops and their videos in the same places" in text
        return text[text.index("Share of the time of each individual") :].split("</table>")[0]

    named = table([("fox", "a.mp4"), ("hare", "a.mp4"), ("fox", "b.mp4")])
    assert named.count("<tr") == 3  # with the header
    assert "50.0 %" in named
    assert "25.0 %" in named  # the fox eats in one video of two
    numbered = table([("1", "a.mp4"), ("2", "a.mp4"), ("1", "b.mp4")])
    assert numbered.count("<tr") == 4
    assert "b.mp4 · 1" in numbered
