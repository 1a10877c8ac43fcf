"""Trees of the released code's files become a store that training can read."""

import numpy as np
import pytest

from actiondiff.cli.main import run
from actiondiff.errors import SettingsMismatchError, UnknownNameError, UsageError
from actiondiff.features.importers import import_features
from actiondiff.features.store import FeatureStore


@pytest.fixture
def tree(tmp_path):
    random = np.random.default_rng(0)
    for layer, width in ((6, 5), (9, 7)):
        for name, count in (("a", 3), ("sub/b c", 8)):
            path = tmp_path / f"tree/layer_{layer}/{name}_mean.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, random.normal(size=(count, width)).astype(np.float32))
    return tmp_path / "tree"


def test_values_places_and_names(tree, tmp_path):
    summary = import_features(tree, tmp_path / "fs", timestep=20, stride=4, offset=8, frame_rate=25.0)
    assert (summary.num_videos, summary.layers, summary.failed) == (2, ("layer6", "layer9"), {})
    features = FeatureStore.open(tmp_path / "fs").read("sub/b c.mp4")
    assert np.array_equal(features[20, 9], np.load(tree / "layer_9/sub/b c_mean.npy"))
    assert features.frame_index.tolist() == list(range(8, 40, 4))
    assert np.allclose(features.seconds, features.frame_index / 25)


def test_times_are_unknown_without_a_rate(tree, tmp_path):
    import_features(tree, tmp_path / "fs")
    assert FeatureStore.open(tmp_path / "fs").read("a.mp4").seconds is None


def test_what_is_stated_belongs_to_the_settings(tree, tmp_path):
    import_features(tree, tmp_path / "fs", stride=4)
    with pytest.raises(SettingsMismatchError, match=r"sampling\.stride"):
        import_features(tree, tmp_path / "fs", stride=2)


def test_a_bad_file_is_a_recorded_failure(tree, tmp_path):
    np.save(tree / "layer_9/a_mean.npy", np.full((3, 7), np.nan, dtype=np.float32))
    np.save(tree / "layer_9/pickled_mean.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tree / "layer_6/sub/b c_mean.npy", np.zeros((2, 5), dtype=np.float32))
    summary = import_features(tree, tmp_path / "fs")
    assert summary.num_videos == 0
    assert "not finite" in summary.failed["a.mp4"]
    assert "2, 8" in summary.failed["sub/b c.mp4"]
    assert set(FeatureStore.open(tmp_path / "fs").failures) == set(summary.failed)


def test_side_files_are_no_failures(tree, tmp_path):
    (tree / "layer_6/._clip_mean.npy").write_bytes(b"\0\5\x16\7")
    (tree / "layer_6/@eaDir").mkdir()
    (tree / "layer_6/@eaDir/clip_mean.npy").write_bytes(b"index")
    assert import_features(tree, tmp_path / "fs").failed == {}


def test_mistakes(tree, tmp_path):
    with pytest.raises(UsageError, match="layer_1"):
        import_features(tree / "layer_6", tmp_path / "fs")
    with pytest.raises(UnknownNameError, match="released"):
        import_features(tree, tmp_path / "fs", layout="other")
    with pytest.raises(UsageError, match="stride"):
        import_features(tree, tmp_path / "fs", stride=0)


def test_on_the_command_line_and_in_training(tmp_path, capsys):
    random = np.random.default_rng(0)
    rows = ["video,label"]
    for number in range(30):
        path = tmp_path / f"tree/layer_9/v{number}_mean.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, random.normal(number % 2, 0.1, size=(6, 16)).astype(np.float32))
        rows.append(f"v{number}.mp4,{('sit', 'stand')[number % 2]}")
    (tmp_path / "table.csv").write_text("\n".join(rows), "utf-8")
    folder, store = str(tmp_path / "tree"), str(tmp_path / "fs")
    assert run(["features", "import", folder, store, "--layout", "released", "--root", str(tmp_path)]) == 0
    assert "30 videos" in capsys.readouterr().out
    assert run(["train", store, str(tmp_path / "table.csv"), "-o", str(tmp_path / "run")]) == 0
    assert "100.0 %" in capsys.readouterr().out
    assert (
        run(["predict", str(tmp_path / "run"), str(tmp_path / "table.csv"), "-o", str(tmp_path / "p")]) == 1
    )
