"""A small table of every method and of every kind of node, for what must work on all of them."""

from __future__ import annotations

import numpy as np
import random_tables

import embedcompress as ec

ROWS, DIMENSION = 24, 16


def weight(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((ROWS, DIMENSION)).astype(np.float32)


def of_methods() -> dict[str, ec.Table]:
    """A table of every method that compresses, with its defaults as far as so small a table allows."""
    source = weight()
    options = {"kmeans_cls": {"clusters": 4}, "pq": {"parts": 4, "bits": 4}, "opq": {"parts": 4, "bits": 4}}
    options |= {
        "magpq": {"parts": 4, "bits": 4},
        "rq": {"parts": 2, "bits": 4},
        "hot_cold": {"counts": np.arange(ROWS)},
        "tiers": {"counts": np.arange(ROWS) ** 4, "inner": "eden"},
    }
    tables = {}
    for method in ec.methods():
        known = {option.name for option in method.options}
        given = {name: value for name, value in options.get(method.name, {}).items() if name in known}
        try:
            tables[method.name] = ec.compress(source, method.name, **given)
        except ValueError:
            # What has no sensible defaults takes a budget.
            tables[method.name] = ec.compress(source, method.name, budget=0.9)
    return tables


def of_kinds() -> dict[str, ec.Table]:
    """A table of every store, of every route over one, and some that nest."""
    rng = np.random.default_rng(5)
    stores = {
        "dense": random_tables.random_dense(rng, ROWS, DIMENSION, "f32"),
        "dense_f16": random_tables.random_dense(rng, ROWS, DIMENSION, "f16"),
        "dense_bf16": random_tables.random_dense(rng, ROWS, DIMENSION, "bf16"),
        "uniform": random_tables.random_uniform(rng, ROWS, DIMENSION, 4),
        "uniform_groups": random_tables.random_uniform(rng, ROWS, DIMENSION, 3, group=8),
        "uniform_table": random_tables.random_uniform(rng, ROWS, DIMENSION, 8, scope="table"),
        "uniform_16": random_tables.random_uniform(rng, ROWS, DIMENSION, 16, scale_type="f32"),
        **{
            f"codebook_{scope}": random_tables.random_codebook(rng, ROWS, DIMENSION, 3, scope=scope)
            for scope in ("row", "cluster", "table", "scaled")
        },
        "product": random_tables.random_product(rng, ROWS, DIMENSION),
        "sparse_csr": ec.sparse(weight() * (weight(1) > 0.5), layout="csr"),
        "sparse_coo": ec.sparse(weight() * (weight(1) > 0.5), layout="coo"),
        "shared_array": random_tables.random_shared_array(rng, ROWS, DIMENSION, of_table=False),
        "tensor_train": random_tables.random_tensor_train(rng, ROWS, DIMENSION, of_tables=False),
        "hash_network": random_tables.random_hash_network(rng, ROWS, DIMENSION, of_tables=False),
    }
    other = np.random.default_rng(6)
    stores["shared_array_of_a_table"] = random_tables.random_shared_array(other, ROWS, DIMENSION, of_table=True)
    stores["tensor_train_of_tables"] = random_tables.random_tensor_train(other, ROWS, DIMENSION, of_tables=True)
    stores["padded"] = random_tables.with_padding(rng, stores["uniform"], 32)
    stores["trellis"] = random_tables.random_trellis(other, ROWS, DIMENSION, 12)
    stores["packed_floats"] = random_tables.random_packed_floats(other, ROWS, DIMENSION)
    stores["reflected"] = random_tables.random_reflection(other, stores["trellis"])
    routes = {route: random_tables.random_route(rng, stores["uniform"], route) for route in random_tables.ROUTE_NAMES}
    nested = {
        f"nested_{number}": random_tables.random_expression(np.random.default_rng(number), 12, 9, 4)
        for number in range(12)
    }
    slices = {
        f"slice_{name}": table.slice(3, 11)
        for name, table in (stores | routes).items()
        if name.startswith(
            ("sparse_", "tensor_train", "block", "assignment", "shared_array", "hash_network", "packed_floats")
        )
    }
    return stores | routes | nested | slices


def every_table() -> dict[str, ec.Table]:
    """Both; the same tables in every process."""
    return {f"method_{name}": table for name, table in of_methods().items()} | of_kinds()
