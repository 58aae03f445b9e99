"""The advice of the report on methods that learn their table: what to take at each budget."""

from __future__ import annotations

from collections.abc import Sequence

from .._report import size
from ._report_findings import best, compared, shown
from ._report_train import Group


def advice(found: Sequence[Group], data: str, head: str) -> list[str]:
    """Return a sentence for each budget: what to take, what does as well, and what is cheaper."""
    here = [group for group in found if (group.data, group.head) == (data, head) and group.lines]
    full = best([group for group in here if group.is_full])
    sentences = []
    for budget in sorted({group.budget for group in here} - {1.0}, reverse=True):
        made = [group for group in here if group.budget == budget]
        first = best(made)
        if first is None:
            continue
        text = f"**Up to {100 * budget:g} % of the bytes** take {shown(first)}"
        if full is not None:
            apart = first.mean("auc") - full.mean("auc")
            text += f", {abs(apart):.4f} {'above' if apart >= 0 else 'below'} the uncompressed table"
        if len(first.lines) > 1:
            text += _as_good(first, [group for group in made if compared(group, first) == "within the noise of"])
        cold = max(made, key=lambda group: group.mean("cold_auc"))
        if cold is not first:
            text += f". For rows whose ids are rare, {cold.label} is best ({cold.mean('cold_auc'):.4f})"
        sentences.append(text + ".")
    return sentences


def _as_good(first: Group, like: Sequence[Group]) -> str:
    """Return what is as good as the best, and who of them costs the least."""
    others = [group for group in like if group is not first]
    if not others:
        return ""
    quick = min(like, key=lambda group: group.median("lookup_ns_per_row"))
    cheap = min(like, key=lambda group: group.median("train_seconds"))
    small = min(like, key=lambda group: group.mean("training_bytes"))
    return (
        f"; within the noise of it: {', '.join(shown(group) for group in others)}. Of these {cheap.label} trains "
        f"fastest ({cheap.median('train_seconds'):.0f} s), the table of {small.label} needs the least memory while it "
        f"trains ({size(round(small.mean('training_bytes')))}), and {quick.label} is looked up fastest "
        f"({quick.median('lookup_ns_per_row'):.0f} ns a row)"
    )
