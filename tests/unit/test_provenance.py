"""What is written beside results: values as JSON can hold them."""

import json
import math

import numpy as np

from actiondiff.provenance import json_values


def test_json_values_replaces_nan_and_numpy_numbers_at_any_depth():
    value = {"a": math.nan, 3: (np.float64("nan"), np.int64(2)), "b": [{"c": np.float32("nan"), "d": "x"}]}
    plain = json_values(value)
    assert plain == {"a": None, "3": [None, 2], "b": [{"c": None, "d": "x"}]}
    assert json.dumps(plain, allow_nan=False) == '{"a": null, "3": [null, 2], "b": [{"c": null, "d": "x"}]}'
