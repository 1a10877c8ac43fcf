"""Every registered head passes the exported check, which finds what is wrong with others."""

import pytest
import torch

from actiondiff.heads import HEADS
from actiondiff.heads.inputs import Head
from actiondiff.testing import check_head


@pytest.mark.parametrize("name", HEADS)
def test_contract(name):
    check_head(HEADS[name])


class Faulty(Head):
    """The mean token through a layer, with one thing wrong."""

    fault = ""

    def __init__(self, options, token_width, num_classes):
        super().__init__(options, token_width, num_classes)
        self.layer = torch.nn.Linear(self.width, num_classes)
        if self.fault == "get no gradient":
            self.spare = torch.nn.Linear(2, 2)

    def classify(self, tokens, mask):
        match self.fault:
            case "more padding":
                return self.layer(tokens.mean(1))
            case "do not matter":
                return self.layer(torch.zeros_like(tokens[:, 0]))
            case "logits are":
                return self.layer(tokens)
        return self.layer(tokens.sum(1) / mask.sum(1, keepdim=True))


@pytest.mark.parametrize("fault", ["more padding", "do not matter", "logits are", "get no gradient"])
def test_the_check_finds_faults(fault):
    faulty = type("Broken", (Faulty,), {"fault": fault})
    with pytest.raises(AssertionError, match=fault):
        check_head(faulty)


def test_the_check_passes_a_sound_head():
    check_head(Faulty)
