"""What `recommend` is asked for, and what the evidence says of a method at a size within it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ._advice import Advice
from ._growth import Cost, Growth, is_far
from ._rules import Curve, Estimate, Evidence
from ._spec import Spec


@dataclass(frozen=True)
class Limits:
    """What is asked of a method, the budget in bytes."""

    spec: Spec
    train_memory: float
    latency: float
    cold: bool
    evidence: Evidence
    growth: Growth | None

    @property
    def f32(self) -> int:
        return self.spec.full_bytes

    @property
    def far(self) -> bool:
        """Whether the evidence is of a table of another size."""
        return is_far(self.spec.rows, self.evidence.rows)

    def at(self, curve: Curve, size: int) -> Estimate:
        """Return what to expect of a method with so many bytes at this number of rows.

        Bytes are those that were measured at this size, if any were, and so is the time where the evidence is far.
        Otherwise both are of the evidence, the time grown to this number of rows.
        """
        share = size / self.f32
        estimate = curve.at(share)
        if self.growth is None:
            return estimate
        cost = self.cost(curve, size)
        if cost is not None:
            estimate = replace(estimate, training_ratio=cost.training_ratio)
            if self.far:
                return replace(estimate, training_time=cost.time)
        share = self.same(curve, share)
        slower = self.growth.slower(curve.method, (self.spec.rows, share), (self.evidence.rows, share))
        return replace(estimate, training_time=estimate.training_time * slower)

    def cost(self, curve: Curve, size: int) -> Cost | None:
        """Return what training of a method costs with so many bytes; None if it was not measured at this size.

        With options it never was.
        """
        if curve.options:
            return None
        place = self.spec.rows, self.same(curve, size / self.f32)
        if self.growth is None or not self.growth.covers(curve.method, place):
            return None
        return self.growth.curves[curve.method].at(*place)

    def same(self, curve: Curve, share: float) -> float:
        """Return the budget of growth that makes the same table, or the one that is given if there is none."""
        known = self.growth.curves.get(curve.method) if self.growth else None
        budgets = known.budgets if known else ()
        return next((one for one in budgets if curve.is_same(one, share)), share)

    def broken(self, estimate: Estimate) -> str:
        """Return the limit that is not kept; empty if all are."""
        if estimate.training_ratio * self.f32 > self.train_memory:
            return "train_memory"
        return "latency" if estimate.lookup_ns > self.latency else ""

    def loss(self, estimate: Estimate) -> float:
        return estimate.cold_loss if self.cold else estimate.loss

    def largest(self, curve: Curve) -> int:
        """Return the most bytes that a method was measured with."""
        return int(curve.points[-1].budget * self.f32)

    def notes(self, advice: Advice) -> list[str]:
        """Return sentences: how the time was extrapolated, and why advice is not for the whole budget."""
        curve = self.evidence.curves[advice.label]
        found = []
        if "training" in advice.beyond and curve.options and self.growth and curve.method in self.growth.curves:
            found.append(f"The time grows with the rows as that of {curve.method} without options.")
        if why := self._why_smaller(advice, curve):
            found.append(f"Give it {advice.budget:,} bytes: {why}.")
        return found

    def _why_smaller(self, advice: Advice, curve: Curve) -> str:
        """Return why advice is not for the whole budget; empty if it is."""
        most = min(self.spec.budget, self.largest(curve))
        if advice.budget >= min(self.spec.budget, self.f32):
            return ""
        if advice.budget >= most:
            return "more was not measured"
        broken = self.broken(self.at(curve, most))
        why = {"train_memory": "more breaks the limit of training memory", "latency": "with more it is too slow"}
        return why.get(broken, "it was worse with more")
