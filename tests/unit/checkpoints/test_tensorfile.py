"""The file format against the safetensors library, and files that are not whole."""

import gc
import json
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from actiondiff.checkpoints.tensorfile import TensorFile, write_tensors
from actiondiff.errors import WeightsError

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64)


def test_reads_what_the_library_writes(tmp_path: Path):
    state = {str(dtype): torch.linspace(-2, 2, 24).reshape(2, 3, 4).to(dtype) for dtype in FLOATS}
    state |= {"scalar": torch.tensor(3.0), "empty": torch.empty(0, 4), "int": torch.arange(5)}
    save_file(state, tmp_path / "x.safetensors", metadata={"a": "b"})
    file = TensorFile(tmp_path / "x.safetensors")
    assert file.metadata == {"a": "b"}
    assert file.tensors.keys() == state.keys()
    for name, tensor in state.items():
        read = file.read(name)
        assert read.dtype == tensor.dtype
        assert read.shape == tensor.shape == file.tensors[name].shape
        assert read.flatten().view(torch.uint8).tolist() == tensor.flatten().view(torch.uint8).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_library_reads_what_is_written(tmp_path: Path, dtype: torch.dtype):
    state = {
        "b": torch.randn(3, 5).to(dtype),
        "a": torch.randn(7, 2).to(dtype).T,
        "s": torch.tensor(1.5, dtype=dtype),
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    path = tmp_path / "x.safetensors"
    size = write_tensors(path, shapes, iter(state.values()), dtype=dtype, metadata={"format": "pt"})
    assert size == path.stat().st_size
    read = load_file(path)
    assert list(TensorFile(path).tensors) == ["b", "a", "s"]
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


def test_writes_one_tensor_at_a_time(tmp_path: Path):
    alive: list[weakref.ref[torch.Tensor]] = []

    def tensors():
        for _ in range(5):
            gc.collect()
            assert sum(ref() is not None for ref in alive) == 0
            tensor = torch.ones(4)
            alive.append(weakref.ref(tensor))
            yield tensor
            del tensor

    shapes = {str(i): (4,) for i in range(5)}
    write_tensors(tmp_path / "x", shapes, tensors(), dtype=torch.float32, metadata={})
    assert len(alive) == 5


def test_metadata_may_change_while_tensors_are_written(tmp_path: Path):
    metadata = {"hash": "0000"}

    def tensors():
        yield torch.ones(2)
        metadata["hash"] = "abcd"

    write_tensors(tmp_path / "x", {"a": (2,)}, tensors(), dtype=torch.float32, metadata=metadata)
    assert TensorFile(tmp_path / "x").metadata == {"hash": "abcd"}


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    path = tmp_path / "whole.safetensors"
    save_file({"a": torch.ones(10), "b": torch.ones(20), "c": torch.ones(30)}, path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0.05, "cut short.*table of contents"),
        (0.3, "cut short.*table of contents"),
        (0.7, r"cut short.*1 of 3 tensors are complete"),
        (0.999, r"cut short.*2 of 3 tensors are complete"),
    ],
)
def test_cut_short(tmp_path: Path, whole: bytes, share: float, message: str):
    path = tmp_path / "x.safetensors"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsError, match=message):
        TensorFile(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"abc", b"<!DOCTYPE html><html>sign in</html>" * 9, b"version https://git-lfs\noid sha256:12\n" * 3,
     (2).to_bytes(8, "little") + b"[]", (4).to_bytes(8, "little") + b"{{{{"],
)  # fmt: skip
def test_no_safetensors_file(tmp_path: Path, content: bytes):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="no safetensors file"):
        TensorFile(path)


def test_a_table_whose_length_looks_like_a_pickle(tmp_path: Path):
    table = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode().ljust(0x280)
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(table).to_bytes(8, "little") + table + bytes(8))
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert TensorFile(path).read("a").tolist() == [0, 0]


@pytest.mark.parametrize("name", ["svd_xt.ckpt", "svd_xt.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_under_any_name(tmp_path: Path, name: str, zipped: bool):
    torch.save({"a": torch.ones(3)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="pickle"):
        TensorFile(tmp_path / name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}, "stored as F4"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "damaged at a"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}, "damaged at a"),
        ({"dtype": "F32", "shape": [2]}, "no safetensors file"),
        (3, "no safetensors file"),
    ],
)
def test_damaged_table(tmp_path: Path, fields: object, message: str):
    table = json.dumps({"a": fields}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(table).to_bytes(8, "little") + table + bytes(8))
    with pytest.raises(WeightsError, match=message):
        TensorFile(path)


def test_bytes_too_many(tmp_path: Path, whole: bytes):
    path = tmp_path / "x.safetensors"
    path.write_bytes(whole + b"12")
    with pytest.raises(WeightsError, match="too many bytes"):
        TensorFile(path)
