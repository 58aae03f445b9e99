"""What `recommend` says of its advice, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from .. import BudgetError
from ._advice import Advice, Refused


def reason(place: int, advice: Sequence[Advice], cold: bool, rows: int, notes: Sequence[str]) -> str:
    """Return what speaks for advice, how far it is from the first, and what of it is extrapolated.

    Args:
        place: Of the advice among all.
        advice: All of it.
        cold: Whether it is ranked by cold rows.
        rows: Of the table that losses were measured with.
        notes: What else there is to say of it, in sentences.
    """
    one, first = advice[place], advice[0]
    same = [other for other in advice if other.rank == one.rank and other is not one]
    where = " on cold rows" if cold else ""
    loss, error = (one.cold_auc_loss, one.cold_auc_loss_error) if cold else (one.auc_loss, one.auc_loss_error)
    text = f"Expected to {_lose(loss)}{'' if error is None else f' ± {error:.4f}'} of AUC{where}"
    if place == 0:
        if same:
            text += f"; {_list([other.label for other in same])} {'are' if len(same) > 1 else 'is'} within the noise "
            text += f"of seeds, but it {_cheaper(one, same)}"
        elif len(advice) > 1:
            text += f", the least of {len(advice)} methods"
    else:
        behind = loss - (first.cold_auc_loss if cold else first.auc_loss)
        if one.rank == first.rank:
            text += f", within the noise of seeds of {first.label}"
        elif behind > 0:
            text += f", {behind:.4f} more than {first.label}"
        if gains := _gains(one, first):
            text += f"; it {_list(gains)}"
    sentences = [f"{text}."]
    if "budget" in one.beyond:
        sentences.append("This is extrapolated: no such budget was measured.")
    elif error is None:
        sentences.append("It was measured with one seed, so the noise is not known.")
    if "rows" in one.beyond:
        sentences.append(f"The loss was measured with {rows:,} rows, and is extrapolated to as many as here.")
    if "training" in one.beyond:
        sentences.append("So are time and bytes of training.")
    return " ".join([*sentences, *notes])


def nothing_left(refused: Sequence[Refused], budget: int) -> ValueError:
    """Return the error of limits that leave no method."""
    texts = []
    for limit, text in (
        ("train_memory", "the least training memory is {:,.0f} bytes ({})"),
        ("latency", "the fastest lookup took {:.3g} ns a row ({})"),
    ):
        found = [(one.least, one.label) for one in refused if one.limit == limit and one.least is not None]
        if found:
            texts.append(text.format(*min(found)))
    if texts:
        return ValueError(f"no method that meets a budget of {budget} bytes is within the limits: {'; '.join(texts)}")
    floors = [(one.floor, one.label) for one in refused if one.limit == "budget" and one.floor is not None]
    if not floors:
        return ValueError("no method that meets the budget was measured")
    least, method = min(floors)
    return BudgetError(
        f"no method can meet a budget of {budget} bytes: the least that any of them can reach is {least} bytes "
        f"({method})",
        method=method,
        budget=budget,
        floor=least,
    )


def time_steps(training_time: float) -> int:
    """Return training time in quarters of that of the uncompressed table: differences below that are not told apart."""
    return round(4 * training_time)


def _lose(loss: float) -> str:
    return f"lose {loss:.4f}" if loss >= 0 else f"gain {-loss:.4f}"


def _cheaper(one: Advice, same: Sequence[Advice]) -> str:
    """Return what decides among advice of one rank."""
    if time_steps(one.training_time) < min(time_steps(other.training_time) for other in same):
        return "trains faster"
    return "trains about as fast as any of them and is looked up faster"


def _gains(one: Advice, first: Advice) -> list[str]:
    found = []
    if one.training_time < 0.8 * first.training_time:
        found.append(f"trains {first.training_time / one.training_time:.1f} times as fast")
    if one.lookup_ns_per_row < 0.8 * first.lookup_ns_per_row:
        found.append(f"is looked up {first.lookup_ns_per_row / one.lookup_ns_per_row:.1f} times as fast")
    if one.training_bytes < 0.8 * first.training_bytes:
        found.append(f"trains in {100 * one.training_bytes / first.training_bytes:.0f} % of the memory")
    if one.stored_bytes < 0.8 * first.stored_bytes:
        found.append(f"stores {100 * one.stored_bytes / first.stored_bytes:.0f} % of the bytes")
    return found


def _list(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
