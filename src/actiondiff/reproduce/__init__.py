"""The paper's tables and figures, run again: what is needed, what it costs, ours beside theirs."""

from actiondiff.reproduce.plan import CONTROLS, TARGETS, Plan
from actiondiff.reproduce.run import REPRODUCTION, Reproduction, plan_reproduction, reproduce

__all__ = ["CONTROLS", "REPRODUCTION", "TARGETS", "Plan", "Reproduction", "plan_reproduction", "reproduce"]
