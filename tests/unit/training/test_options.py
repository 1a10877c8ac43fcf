import pytest
from pydantic import ValidationError

from actiondiff.training.options import TrainingOptions


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
