"""Errors explain themselves in one line."""

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from actiondiff.errors import explain_validation


class _Span(BaseModel):
    start_seconds: float = Field(0.0, ge=0)
    end_seconds: float = 1.0

    @model_validator(mode="after")
    def _check(self) -> "_Span":
        if self.end_seconds < self.start_seconds:
            raise ValueError("end_seconds must not be below start_seconds.")
        return self


@pytest.mark.parametrize(
    ("values", "as_flag", "expected"),
    [
        (
            {"start_seconds": -1.0},
            False,
            "start_seconds: Input should be greater than or equal to 0; got -1.0",
        ),
        (
            {"start_seconds": -1.0},
            True,
            "--start-seconds: Input should be greater than or equal to 0; got -1.0",
        ),
        ({"start_seconds": 2.0}, True, "end_seconds must not be below start_seconds"),
    ],
)
def test_a_validation_is_explained_by_its_first_problem(values, as_flag, expected):
    with pytest.raises(ValidationError) as raised:
        _Span.model_validate(values)
    assert explain_validation(raised.value, as_flag=as_flag) == expected
