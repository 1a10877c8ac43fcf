import pytest
from pydantic import ValidationError

from actiondiff.training.options import TrainingOptions
from actiondiff.training.schedule import rate_factor


def test_warm_up_must_end_before_training_does():
    with pytest.raises(ValidationError, match=r"warmup_epochs \(4\) must be fewer than epochs \(4\)"):
        TrainingOptions(epochs=4)
    assert TrainingOptions(epochs=1, warmup_epochs=0).epochs == 1


def test_fields_are_described_and_no_others_taken():
    assert all(field.description for field in TrainingOptions.model_fields.values())
    with pytest.raises(ValidationError, match="lr"):
        TrainingOptions(lr=0.1)
    with pytest.raises(ValidationError, match="sigmoid-focal"):
        TrainingOptions(loss="focal")


def test_rate_rises_in_a_line_and_falls_in_half_a_cosine():
    factors = [rate_factor(step, warmup_steps=4, total_steps=12) for step in range(13)]
    assert factors[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert factors[8] == pytest.approx(0.5)
    assert factors[12] == 0
    assert rate_factor(0, warmup_steps=0, total_steps=5) == 1
