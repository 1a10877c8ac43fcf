"""Every domain against every other: figure 4, what it is worth over a guess, and what it goes along with."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from actiondiff.evaluation.matrices import correlate, mantel
from actiondiff.paper.figures import correlation_matrix, gain_matrix, pair_scatter, transfer_matrix
from actiondiff.report.html import Item
from actiondiff.report.tables import Grid

__all__ = ["relation_table", "transfer_items"]

_ALIKE, _APART = "correlation of action frequencies", "taxonomic distance"


def transfer_items(
    accuracy: pd.DataFrame,
    *,
    prior: pd.DataFrame,
    similarity: pd.DataFrame,
    balanced: pd.DataFrame | None = None,
    matched: pd.DataFrame | None = None,
    distance: pd.DataFrame | None = None,
    held_out: Mapping[str, float] | None = None,
    note: str = "",
) -> list[Item]:
    """Figures 4, S12, S13, S15 and S16, and the relations that put S13 in its place.

    All tables have the domains, in one order, as index (trained on) and columns (tested on).

    Args:
        accuracy: In [0, 1].
        prior: Accuracy of guessing the source's most frequent class.
        similarity: Correlation of the classes' frequencies.
        balanced: Balanced accuracy.
        matched: Accuracy with training sets matched in size.
        distance: Taxonomic distance.
        held_out: Domain -> accuracy on held-out clips of its own.
        note: What was trained, on what.

    Raises:
        UsageError: If the tables are over different domains, or lack a number off the diagonal.
    """
    measures = {"accuracy": accuracy, "prior's accuracy": prior, "gain over the prior": accuracy - prior}
    measures |= {"balanced accuracy": balanced} if balanced is not None else {}
    measures |= {"accuracy, sizes matched": matched} if matched is not None else {}
    along = {_ALIKE: similarity, **({_APART: distance} if distance is not None else {})}
    items: list[Item] = [
        transfer_matrix(
            accuracy, title="Accuracy from each to each (figure 4)", held_out=held_out, caption=note
        ),
        transfer_matrix(
            prior,
            title="Guessing the source's most frequent action (figure S15)",
            name="prior",
            caption="No video is looked at.",
        ),
        gain_matrix(accuracy, prior, title="Gain over the guess (figure S16)"),
        correlation_matrix(
            similarity,
            title="How alike action frequencies are (figure S12)",
            caption="Pearson correlation of the shares of the actions in two domains' clips.",
        ),
        relation_table(along, measures),
    ]
    drawn = [("accuracy", _ALIKE), ("gain over the prior", _ALIKE)]
    drawn += [("gain over the prior", _APART)] if distance is not None else []
    for measure, alike in drawn:
        of_paper = " (figure S13)" if measure == "accuracy" else ""
        title = f"{measure.capitalize()} against {alike}{of_paper}"
        name = f"{measure} {alike}".replace(" ", "-")
        items.append(
            pair_scatter(
                along[alike],
                measures[measure],
                title=title,
                first_title=alike,
                second_title=measure,
                name=name,
            )
        )
    return items


def relation_table(along: Mapping[str, pd.DataFrame], measures: Mapping[str, pd.DataFrame]) -> Grid:
    """How each measure goes along with each likeness, over the ordered pairs of different domains.

    Raises:
        UsageError: If a matrix lacks a number off its diagonal, or they differ in size.
    """
    rows = []
    for likeness, first in along.items():
        for measure, second in measures.items():
            a, b = first.to_numpy(dtype=np.float64), second.to_numpy(dtype=np.float64)
            found = correlate(a, b)
            p = mantel(a, b, method="pearson").p, mantel(a, b, method="spearman").p
            r, rho = f"{found.pearson:.2f}", f"{found.spearman:.2f}"
            rows.append((f"{measure} against {likeness}", r, f"{p[0]:.2g}", rho, f"{p[1]:.2g}"))
    return Grid(
        ("relation", "Pearson r", "Mantel p", "Spearman rho", "Mantel p of rho"),
        tuple(rows),
        "What goes along with accuracy on other domains",
        "If the accuracy of the prior, which sees no video, goes with likeness as closely as the model's "
        "does, then likeness of frequencies explains the relation. p by permuting whole domains.",
    )
