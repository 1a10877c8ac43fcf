"""`compile=True`: what is compiled, that it is recorded, and what is said where it cannot be."""

import numpy as np
import pytest
import torch
from tests.conftest import random_frames

from actiondiff import load_backbone
from actiondiff.backbones.svd import backbone as svd
from actiondiff.backbones.svd import compiling
from actiondiff.backbones.svd.compiling import check_compiler
from actiondiff.errors import UsageError

SIZE = {"height": 32, "width": 48, "threads": 1, "device": "cpu", "batch": 1}


def test_vae_and_stages_are_compiled_as_deep_as_they_are_needed(monkeypatch):
    compiled: list[str] = []
    monkeypatch.setattr(svd, "check_compiler", lambda device: None)
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compiled.append(type(self).__name__)
    )
    backbone = load_backbone("tiny", compile=True, **SIZE)
    assert backbone.settings["compile"] is True
    assert compiled == []
    backbone.extract(random_frames(), layers=[3])
    assert sorted(compiled) == ["EncoderStage"] * 3 + ["VaeEncoder"]


def test_without_a_compiler_it_is_one_line(monkeypatch):
    def fail(_function):
        raise RuntimeError("\nInvalidCxxCompiler: No working C++ compiler found\nand much more")

    check_compiler.cache_clear()
    monkeypatch.setattr(compiling.torch, "compile", fail)
    with pytest.raises(UsageError, match=r"compile does not work here \(InvalidCxxCompiler.*--no-compile"):
        load_backbone("tiny", compile=True, **SIZE)
    check_compiler.cache_clear()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_compiled_features_differ_by_rounding_alone():
    """Minutes: the compiler is given an autoencoder and two stages."""
    plain, compiled = (
        load_backbone("tiny", compile=choice, **SIZE).extract(random_frames(), layers=[1, 2])
        for choice in (False, True)
    )
    for key, tokens in plain.tokens.items():
        assert np.linalg.norm(compiled.tokens[key] - tokens) / np.linalg.norm(tokens) < 1e-5
