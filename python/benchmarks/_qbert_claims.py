"""What was expected of the experiment, each held against the lines: confirmed, contradicted or open.

A limit is met if the mean over seeds meets it; "narrowly" says that the mean is within two standard errors of the
limit. With one seed nothing is decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from _qbert_results import Difference, Results
from _qbert_settings import MAIN

SMALLER = 10.0
CHANCE_POINTS = 5.0
NOTHING = "Not measured yet."


@dataclass(frozen=True)
class Finding:
    """What the lines say of a claim."""

    claim: str
    verdict: str
    evidence: str


def findings(found: Results) -> list[Finding]:
    """Return every claim with its verdict."""
    return [
        _within(found, "Q-BERT at 4 bits is within 1 point of f32.", "qbert-4", "f32", 1.0),
        _within(found, "Q-BERT at 3 bits is within 2 points of f32.", "qbert-3", "f32", 2.0),
        _chance(found),
        _within(found, "Q-BERT at mixed 2 and 3 bits is within 3 points of f32.", "qbert-2-3", "f32", 3.0),
        _within(
            found,
            "With our blocks at 4 bits, word embeddings at 4 bits are within 1 point of 8 bits.",
            "ours-4-word-4",
            "ours-4-word-8",
            1.0,
        ),
        _tenth(found),
        *(_better(found, f"Counting errors of rows by tokens chooses better bits, at the bytes of {text}.",
                  f"{name}-counts", name) for text, name in
          (("Q-BERT 2/3", "ours-2-3"), ("Q-BERT 2/4", "ours-2-4"), ("a tenth of f32", "ours-1-10"))),
        *(_better(found, f"Frequent tokens with more bits are better than all with {bits}, in the same bytes, without "
                  "training.", f"tokens-{bits}-counts", f"tokens-{bits}", "ptq") for bits in (3, 2)),
        *(_better(found, f"More bits where Ω is high are better than where it is low, at {low_high} bits.",
                  name, f"{name}-reversed") for low_high, name in (("2/3", "qbert-2-3"), ("2/4", "qbert-2-4"))),
        _better(found, "Mixed 2 and 4 bits are better than 3 bits everywhere.", "qbert-2-4", "qbert-3"),
        *(_better(found, f"Bits that `hessian.allocate` chooses are better than Q-BERT's 2 and {high} bits, in its "
                  "bytes.", f"ours-2-{high}", f"qbert-2-{high}") for high in (3, 4)),
        _better(found, "Mixed 2 and 3 bits are better than 2 bits everywhere.", "qbert-2-3", "qbert-2"),
        _better(found, "Our 3 bits with words at 2 are better than Q-BERT's 2 bits, which take almost twice the bytes.",
                "ours-3-word-2", "qbert-2"),
        _better(found, "128 groups are better than one, at 4 bits.", "qbert-4", "directq-4"),
        _better(found, "128 groups are better than one, at 4 bits without training.", "groups-columns-128", "groups-1",
                "ptq"),
        _better(found, "Word embeddings at 4 bits cost less than position embeddings at 4 bits, with one range for a "
                "table and without training.", "embeddings-tensor-4-8", "embeddings-tensor-8-4", "ptq"),
    ]  # fmt: skip


def shown(difference: Difference) -> str:
    """Return points with their standard error."""
    error = "" if math.isinf(difference.error) else f" ± {difference.error:.1f}"
    seeds = "seed" if difference.seeds == 1 else "seeds"
    return f"{difference.mean:.1f}{error} points ({difference.seeds} {seeds})"


def _verdict(difference: Difference, limit: float) -> str:
    """Return what is said of a difference that should be no larger than a limit."""
    if math.isinf(difference.error):
        return "open"
    narrow = abs(difference.mean - limit) <= 2 * difference.error
    return ("confirmed" if difference.mean <= limit else "contradicted") + (", narrowly" if narrow else "")


def _open(claim: str) -> Finding:
    return Finding(claim, "open", NOTHING)


def _within(found: Results, claim: str, name: str, beside: str, limit: float) -> Finding:
    """A setting after training is no more points below another one: f32 as fine-tuned, or a setting after training."""
    difference = found.drop("qat", name, beside, "ptq" if beside == "f32" else "qat")
    if difference is None:
        return _open(claim)
    evidence = f"{found.accuracy('qat', name)} %, below by {shown(difference)}."
    before = found.drop("ptq", name, beside)
    if before is not None:
        evidence += f" Without training: {found.accuracy('ptq', name)} %, below by {shown(before)}."
    more = found.drop("qat", name, "f32") if beside == "f32" else None
    if more is not None:
        evidence += f" Below f32 that was trained an epoch more: by {shown(more)}."
    return Finding(claim, _verdict(difference, limit), evidence)


def _chance(found: Results) -> Finding:
    claim = f"DirectQ at 2 bits is near chance: no more than {CHANCE_POINTS:g} points above the more frequent class."
    above = [100 * (figures["accuracy"] - figures["chance"]) for figures in found.by_seed("qat", "directq-2").values()]
    if not above:
        return _open(claim)
    mean = sum(above) / len(above)
    variance = sum((value - mean) ** 2 for value in above) / max(len(above) - 1, 1)
    error = math.sqrt(variance / len(above)) if len(above) > 1 else math.inf
    difference = Difference(mean, error, len(above))
    text = f"{found.accuracy('qat', 'directq-2')} %, above by {shown(difference)}."
    return Finding(claim, _verdict(difference, CHANCE_POINTS), text)


def _tenth(found: Results) -> Finding:
    claim = "The whole model can be at least 10 times smaller than f32 within 2.3 points."
    small = []
    for setting in MAIN:
        ratio, difference = found.smaller(setting), found.drop("qat", setting, "f32", "ptq")
        if ratio is not None and difference is not None and ratio >= SMALLER:
            small.append((difference.mean, ratio, setting, difference))
    if not small:
        return _open(claim)
    _, ratio, setting, difference = min(small, key=lambda one: one[0])
    return Finding(
        claim,
        _verdict(difference, 2.3),
        f"The best of {len(small)} that are: {setting.name}, {ratio:.1f} times smaller, "
        f"{found.accuracy('qat', setting)} %, below f32 by {shown(difference)}. It was chosen by the same held-out "
        "sentences.",
    )


def _better(found: Results, claim: str, name: str, beside: str, part: str = "qat") -> Finding:
    """A difference counts if it is more than twice its standard error; the same bits make no difference.

    What has not been trained is compared without training.
    """
    difference = found.drop(part, name, beside)
    if difference is None and part == "qat":
        finding = _better(found, claim, name, beside, "ptq")
        return (
            finding
            if finding.evidence == NOTHING
            else replace(finding, evidence=f"Without training: {finding.evidence}")
        )
    if difference is None:
        return _open(claim)
    own, other = found.by_seed(part, name), found.by_seed(part, beside)
    both = own.keys() & other.keys()
    text = f"{found.accuracy(part, name, both)} % beside {found.accuracy(part, beside, both)} %: "
    way = "below" if difference.mean > 0 else "above"
    text += f"{shown(Difference(abs(difference.mean), difference.error, difference.seeds))} {way}."
    alike = [
        all(own[seed].get(key) == other[seed].get(key) for key in ("bits", "bits_of_classes"))
        for seed in own
        if seed in other
    ]
    if all(alike) and name.endswith("-counts"):
        return Finding(claim, "contradicted", f"Both choose the same bits. {text}")
    if math.isinf(difference.error) or abs(difference.mean) <= 2 * difference.error:
        noise = "" if difference.seeds == 1 else " That is within the noise."
        return Finding(claim, "open", text + noise)
    return Finding(claim, "confirmed" if difference.mean < 0 else "contradicted", text)
