"""Verdicts on the claims about figure 4: trained on one animal type, tested on each of the nine."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import norm, wilcoxon

from actiondiff.evaluation.matrices import correlate, mantel
from actiondiff.paper.claims import Claim

__all__ = ["OPEN", "judge_by_matrices"]

OPEN = "not tested"
"""Outcome of a claim that nothing was run for, or whose other side is not public."""


def judge_by_matrices(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> tuple[str, str]:
    """Judge a claim of the kind `mantel`, `pairs` or `gain`.

    Args:
        claim: The claim.
        tables: Figure 4's tables, see `actiondiff.paper.verdicts.matrices`; empty if it was not run.

    Returns:
        The outcome, and the verdict in a sentence.
    """
    if not tables or tables["accuracy"].isna().any(axis=None):
        return OPEN, f"{claim.says}: {OPEN}; some types were not trained or tested."
    judge = {"mantel": _similarity, "pairs": _pairs, "gain": _gain}[claim.test]
    outcome, words = judge(claim, tables)
    return outcome, f"{claim.says}: {outcome}; {words}."


def _similarity(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> tuple[str, str]:
    """Whether accuracy follows the similarity of frequencies, and whether guessing does so as well."""
    similarity = tables["similarity"].to_numpy()
    accuracy = tables["accuracy"].to_numpy(dtype=np.float64)
    prior = tables["prior"].to_numpy(dtype=np.float64)
    relations = {}
    for name, values in (("accuracy", accuracy), ("prior", prior), ("gain over the prior", accuracy - prior)):
        p = mantel(similarity, values, method="pearson").p
        relations[name] = correlate(similarity, values).pearson, p
    words = "; ".join(f"{name}: Pearson r {r:.2f}, Mantel p {p:.3f}" for name, (r, p) in relations.items())
    r, p = relations["accuracy"]
    score = claim.ours.score
    published = "" if score is None else f"published rho {score / 100:.2f}; "
    outcome = "holds" if p < 0.05 and r > 0 else "contradicted" if p < 0.05 else "not shown"
    if relations["prior"][0] >= r:
        words += (
            "; guessing by the source's class frequencies, which uses no video, correlates at least as well"
        )
    return outcome, published + words


def _pairs(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> tuple[str, str]:
    """Whether a head trained on one type is better on one target than on another, beyond what guessing gives.

    The test is a comparison of two shares of clips, which are taken as independent of each other.
    """
    assert claim.ours.pair is not None  # a test checks every claim of this kind
    assert claim.against is not None
    assert claim.against.pair is not None
    pairs = (claim.ours.pair, claim.against.pair)
    accuracy, prior, clips = tables["accuracy"], tables["prior"], tables["clips"]["clips"]
    shares, guesses = (
        [float(frame.to_numpy()[frame.index.get_loc(a), frame.columns.get_loc(b)]) for a, b in pairs]
        for frame in (accuracy, prior)
    )
    variance = sum(
        share * (1 - share) / clips[target] for share, (_, target) in zip(shares, pairs, strict=True)
    )
    difference = shares[0] - shares[1]
    half = float(norm.ppf(0.975)) * math.sqrt(variance)
    low, high = difference - half, difference + half
    outcome = "holds" if low > 0 else "contradicted" if high < 0 else "not shown"
    listed = " against ".join(
        f"{100 * share:.1f} % ({' to '.join(pair)})" for share, pair in zip(shares, pairs, strict=True)
    )
    guessed = " and ".join(f"{100 * guess:.1f} %" for guess in guesses)
    return outcome, (
        f"{listed}, a difference of {100 * difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}, "
        f"clips taken as independent); guessing the source's most frequent action gives {guessed}"
    )


def _gain(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> tuple[str, str]:
    """Whether accuracy is above guessing; Wilcoxon's test over the mean gains of the sources."""
    gain = tables["accuracy"].to_numpy(dtype=np.float64) - tables["prior"].to_numpy(dtype=np.float64)
    outside = ~np.eye(len(gain), dtype=bool)
    by_source = np.array([row[keep].mean() for row, keep in zip(gain, outside, strict=True)])
    p = float(wilcoxon(by_source).pvalue) if by_source.any() else 1.0
    mean = float(gain[outside].mean())
    outcome = "not shown" if p >= 0.05 else "holds" if mean > 0 else "contradicted"
    better = int((gain[outside] > 0).sum())
    return outcome, (
        f"{100 * mean:+.1f} points on average, and above guessing in {better} of {outside.sum()} pairs of "
        f"types; Wilcoxon p {p:.3f} over {len(by_source)} sources"
    )
