"""A student tells which pictures are unlike those that it learnt from, and its models' guards say so."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.backbones.strangeness import PictureSpace, picture_statistics
from actiondiff.backbones.student import read_student
from actiondiff.cli.main import run
from actiondiff.distillation.lessons import Lessons
from actiondiff.distillation.pictures import fit_pictures, near_bound
from actiondiff.features.store import FeatureStore
from actiondiff.types import FeatureKey
from actiondiff.video.write import write_video

KEY = FeatureKey.of(0, "layer1")


def lessons(*, recordings: int, each: int = 5, gray: bool = False) -> tuple[Lessons, list[str]]:
    """Windows of noise on grounds of several shades."""
    random = np.random.default_rng(0)
    count = recordings * each
    shades = random.integers(60, 180, (count, 1, 1, 1, 1 if gray else 3))
    noise = random.integers(-20, 20, (count, 4, 16, 16, 1 if gray else 3))
    windows = np.broadcast_to(shades + noise, (count, 4, 16, 16, 3)).astype(np.uint8)
    names = [f"recording {number // each}" for number in range(count)]
    return Lessons(windows, np.zeros((count, 4, 2), np.float32), np.ones((count, 4), bool)), names


def test_statistics_of_a_known_picture():
    pixels = torch.zeros(1, 3, 3, 4, 4)
    pixels[:, :, 0] = 0.5  # the first colour is even
    pixels[:, :, 1, :, ::2] = 1  # the second has stripes across the columns
    pixels[:, 1, 2] = 0.25  # the third changes from frame to frame
    (values,) = picture_statistics(pixels, torch.tensor([3])).tolist()
    means, contrasts, along, across, changes = (values[i : i + 3] for i in range(0, 15, 3))
    assert means == pytest.approx([0.5, 0.5, 0.25 / 3])
    assert contrasts == pytest.approx([0, 0.5, 0])
    assert along == pytest.approx([0, 1, 0])
    assert across == pytest.approx([0, 0, 0])
    assert changes == pytest.approx([0, 0, 0.25])


def test_padding_changes_nothing():
    frames = torch.rand(1, 3, 3, 8, 8)
    black = torch.full((1, 2, 3, 8, 8), -1.0)
    padded = picture_statistics(torch.cat([frames, black], dim=1), torch.tensor([3]))
    assert torch.allclose(padded, picture_statistics(frames, torch.tensor([3])))


def test_a_window_of_one_frame_is_not_strange_because_nothing_moves():
    fitted = fit_pictures(*lessons(recordings=8), tubelet=1)
    pixels = lessons(recordings=1)[0].batch([0])[0]
    whole, still = (fitted(pixels[:, :count], torch.tensor([count])) for count in (4, 1))
    assert float(whole) < float(still) < 1  # the mean of fewer frames scatters more
    repeated = fitted(pixels[:, :1].expand(-1, 4, -1, -1, -1), torch.tensor([4]))
    assert float(repeated) > 3  # a film that stands still is another matter


def test_few_windows_like_those_of_training_lie_outside_and_others_do():
    fitted = fit_pictures(*lessons(recordings=60), tubelet=1)
    new = lessons(recordings=80)[0].batch(range(300, 400))[0]
    num_real = torch.full((100,), 4)
    assert float((fitted(new, num_real) > 1).float().mean()) <= 0.05
    for other in (new * 0.2 - 0.8, new.flip(-1) * 3, new.mean(-1, keepdim=True).expand_as(new)):
        assert float((fitted(other.clamp(-1, 1), num_real) > 1).float().mean()) > 0.9


def test_gray_recordings_have_a_distribution_too():
    fitted = fit_pictures(*lessons(recordings=20, gray=True), tubelet=1)
    pixels = lessons(recordings=1, gray=True)[0].batch([0])[0]
    assert float(fitted(pixels, torch.tensor([4]))) < 1
    tinted = pixels.clone()
    tinted[:, :, 0] += 0.6
    assert float(fitted(tinted, torch.tensor([4]))) > 1.5


def test_too_few_recordings_tell_nothing():
    assert fit_pictures(*lessons(recordings=3), tubelet=1) is None


@pytest.mark.parametrize(
    ("distances", "shares", "bound"),
    [
        ([0.3, 0.9, 0.5], [0.1, 0.1, 0.1], 1.0),  # all are near: the bound stays
        ([0.3, 0.9, 0.5], [0.1, 0.9, 0.1], 0.7),  # halfway between the last near one and the next
        ([0.4, 0.8], [0.9, 0.1], 0.999 * 0.4),  # the nearest video is far, so that all are outside
        ([2.0, 3.0], [0.9, 0.9], 1.0),  # they are outside already
        ([0.1 * n for n in range(1, 10)] + [0.95], [0.1] * 4 + [0.9] + [0.1] * 5, 1.0),  # one of ten
        ([0.2, 0.5, 5.0], [0.1, 0.1, 0.9], 1.0),
    ],
)
def test_the_bound_is_where_the_student_is_no_longer_near(distances, shares, bound):
    assert near_bound(distances, shares) == pytest.approx(bound)


def test_a_filled_space_gives_the_mahalanobis_distance():
    random = np.random.default_rng(0)
    mixing = random.normal(size=(15, 15))
    precision, centre = mixing @ mixing.T, random.normal(size=15)
    space = PictureSpace()
    space.fill(centre, precision)
    pixels = torch.rand(2, 4, 3, 8, 8)
    offsets = picture_statistics(pixels, torch.tensor([4, 4])).double().numpy() - centre
    expected = np.sqrt(np.einsum("ni,ij,nj->n", offsets, precision, offsets))
    assert space(pixels, torch.tensor([4, 4])).numpy() == pytest.approx(expected, rel=1e-4)


def test_the_guard_of_a_teachers_model_and_of_the_students_own_says_outside(taught, tmp_path):
    """By prediction from files, from the kept features, and by a model that was trained on the student's."""
    new = tmp_path / "new.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    write_video(new, frames, fps=25)
    seen = taught / "clips" / "clip_00.mp4"
    base = ["predict", str(taught / "run"), str(seen), str(new), "--workers", "1"]
    out = tmp_path / "out"
    assert run([*base, "-o", str(out), "--student", str(taught / "student")]) == 0
    rows = pd.read_csv(out / "predictions.csv").set_index("video")
    new_row = rows.loc[next(name for name in rows.index if name.endswith("new.mp4"))]
    assert "times the distance up to which the student is near its teacher" in str(new_row["outside"])
    store = FeatureStore.open(out / "features")
    values = {name: store.read(name).appearance.strangeness for name in store.videos()}
    strange, usual = (
        next(value for name, value in values.items() if name.endswith(f"{part}.mp4"))
        for part in ("new", "clip_00")
    )
    assert strange > max(1, 3 * usual)

    # A model of the student: its guard says the same of features that a store holds.
    student_store = tmp_path / "store"
    clips, weights = str(taught / "clips"), ["--backbone", "student", "--weights", str(taught / "student")]
    assert run(["extract", clips, "-o", str(student_store), *weights, "--stride", "1", "--workers", "1"]) == 0
    table = str(taught / "clips" / "table.csv")
    options = ["--set", "training.epochs=6", "--set", "head.name=linear"]
    assert run(["train", str(student_store), table, "-o", str(tmp_path / "own"), *options]) == 0
    own = ad.ActionDiff.from_pretrained(tmp_path / "own", weights=taught / "student", device="cpu")
    domain = own.predict(new).domain
    assert domain.distances["student"] == pytest.approx(strange, rel=1e-5)
    assert any("near its teacher" in reason for reason in domain.reasons)
    own.guard = None  # as of models of older versions: the student alone can still tell
    assert set(own.predict(new).domain.distances) == {"student"}


def test_nearness_says_how_much_of_the_held_out_videos_lies_outside(taught):
    fields = json.loads((taught / "student" / "nearness.json").read_text("utf-8"))
    reach = fields["reach"]
    assert reach["num_videos"] == 4
    assert 0 < reach["near"] < 1  # it learnt in 60 steps
    assert reach["near_inside"] is None or reach["near_inside"] >= 0.9
    assert reach["outside"] >= 0.25
    card = (taught / "student" / "README.md").read_text("utf-8")
    sentence = (
        f"Of 4 held-out videos {100 * reach['near']:.0f} % are near, and {100 * reach['outside']:.0f} % lie"
    )
    assert sentence in card


def test_a_student_of_an_older_version_is_read_and_says_nothing(taught, tmp_path):
    """Its file has no pictures; its identity is that of the version that made it."""
    config = json.loads((taught / "student" / "config.json").read_text("utf-8"))
    del config["architecture"]["pictures"]
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    tensors = load_file(taught / "student" / "model.safetensors")
    from safetensors.torch import save_file

    usual = {name: tensor for name, tensor in tensors.items() if not name.startswith("pictures.")}
    save_file(usual, tmp_path / "model.safetensors")
    assert not read_student(tmp_path).architecture.pictures
    old, new = (
        load_backbone("student", weights=path, device="cpu") for path in (tmp_path, taught / "student")
    )
    frames = ad.read_video(taught / "clips" / "clip_00.mp4", stride=1)
    ours, theirs = old.extract(frames), new.extract(frames)
    assert np.array_equal(ours[KEY], theirs[KEY])
    assert ours.appearance.strangeness is None
    assert theirs.appearance.strangeness > 0
