"""Expressions in a line: `project(rank=37, uniform(bits=8))` says what a method's knobs became."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._table import Table


def describe(table: Table) -> str:
    """Return the expression of a table in a line: its stores and routes, and the fields that a budget chooses."""
    return _node(table.parts()[0])


def _node(tree: Mapping[str, Any]) -> str:
    children: Mapping[str, Mapping[str, Any]] = tree.get("children", {})
    fields = [f"{name}={value}" for name, value in _fields(tree, children).items()]
    inner = [_node(child) for child in children.values()]
    text = ", ".join([*fields, *inner])
    return f"{tree['kind']}({text})" if text else str(tree["kind"])


_SHOWN = (
    *("element", "bits", "scope", "group", "clusters", "parts", "mode", "nonzeros", "rank1", "rank2"),
    *("operation", "function", "modulus", "divisor"),
)
"""Fields that say how much a store holds or what a route does."""


def _fields(tree: Mapping[str, Any], children: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    fields = {name: tree[name] for name in _SHOWN if tree.get(name) not in (None, "")}
    if fields.get("group") == tree["dimension"]:
        del fields["group"]
    if tree["kind"] == "remap" and fields["function"] in ("modulo", "divide", "quotient"):
        del fields["function"]
    if tree["kind"] == "project":
        fields = {"rank": children["inner"]["dimension"]}
    elif tree["kind"] == "partition":
        fields = {"rows": "+".join(str(child["rows"]) for child in children.values())}
    return fields
