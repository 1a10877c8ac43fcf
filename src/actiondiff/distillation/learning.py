"""What a student starts with, and the loss by which it learns."""

import torch
from torch import Tensor
from torch.nn import functional as F

from actiondiff.backbones.efficientnet import packaged_tensors
from actiondiff.backbones.student_network import StudentArchitecture, StudentNetwork
from actiondiff.distillation.lessons import Lessons

__all__ = ["start_network", "token_loss"]


def start_network(architecture: StudentArchitecture, lessons: Lessons, *, seed: int) -> StudentNetwork:
    """The network at the start, on the CPU; its weights follow from the seed.

    Args:
        architecture: Its sizes.
        lessons: What it is to learn, from which it has the tokens' mean and deviation.
        seed: Seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture.encoder == "small":
            network = StudentNetwork(architecture)
        else:
            network = _with_lite0(architecture)
    mean, deviation = lessons.statistics()
    network.mean.copy_(mean)
    network.deviation.copy_(deviation)
    return network


def token_loss(
    lessons: Lessons, network: StudentNetwork, step: int, rows: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Cosine and smooth-L1 distance of standardised tokens, the mean over real tokens."""
    device = network.mean.device
    pixels, tokens, real = (part.to(device) for part in lessons.batch(rows.tolist()))
    asked = ((tokens - network.mean) / network.deviation)[real]
    answers = network.standardised(pixels)[real]
    angle = (1 - F.cosine_similarity(answers, asked, dim=-1)).mean()
    distance = F.smooth_l1_loss(answers, asked)
    return angle + distance, {"cosine": 1 - float(angle.detach()), "smooth_l1": float(distance.detach())}


def _with_lite0(architecture: StudentArchitecture) -> StudentNetwork:
    """A student whose encoder has the published weights; the rest is drawn from the global generator."""
    small = architecture.model_copy(update={"encoder": "small"})
    drawn = StudentNetwork(small)
    with torch.device("meta"):
        network = StudentNetwork(architecture)
    names = list(network.encoder.state_dict())
    published = packaged_tensors().tensors("encoder", names)
    counts = {name: published[name].long() for name in names if name.endswith("num_batches_tracked")}
    network.encoder.load_state_dict({**published, **counts}, assign=True)
    network.project = torch.nn.Linear(network.project.in_features, architecture.hidden)
    for name in ("blocks", "norm", "output"):
        setattr(network, name, getattr(drawn, name))
    for name in ("mean", "deviation"):
        network.register_buffer(name, getattr(drawn, name))
    return network
