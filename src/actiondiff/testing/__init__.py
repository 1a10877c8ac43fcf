"""Checks that every backbone and every head must pass, for authors of plug-ins.

    import pytest
    from actiondiff.testing import BACKBONE_CHECKS

    @pytest.mark.parametrize("check", BACKBONE_CHECKS)
    def test_my_backbone(check):
        check(my_backbone)

The backbone should be small, as each check runs a few windows. `check_head` checks the class of a head.
"""

from actiondiff.testing.backbones import (
    BACKBONE_CHECKS,
    check_backbone,
    check_description,
    check_inputs_matter,
    check_maps,
    check_names,
    check_same_bits,
    check_shapes,
    check_times,
    sample_video,
)
from actiondiff.testing.heads import check_head

__all__ = [
    "BACKBONE_CHECKS",
    "check_backbone",
    "check_description",
    "check_head",
    "check_inputs_matter",
    "check_maps",
    "check_names",
    "check_same_bits",
    "check_shapes",
    "check_times",
    "sample_video",
]
