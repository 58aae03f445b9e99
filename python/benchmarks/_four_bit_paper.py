"""The figures of "Post-Training 4-bit Quantization on Embedding Tables" (arXiv 1911.02079), and our methods' names.

Tables 2 and 3 are as printed. Figures 1 and 2 are drawn as vectors: their values were read off the paths, to about
0.0003 in Figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import embedcompress as ec

FIGURE_1_DIMENSIONS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384)
FIGURE_1 = {
    "table": (0.1023, 0.0995, 0.1164, 0.1075, 0.1258, 0.1366, 0.1285, 0.1406, 0.1536, 0.1592, 0.1779),
    "gss": (0.0673, 0.0718, 0.0896, 0.0895, 0.0958, 0.1014, 0.0999, 0.1046, 0.1078, 0.1070, 0.1069),
    "asym": (0.0465, 0.0640, 0.0790, 0.0882, 0.0988, 0.1074, 0.1118, 0.1232, 0.1339, 0.1417, 0.1529),
    "aciq": (0.0465, 0.0640, 0.0790, 0.0921, 0.0972, 0.1039, 0.1038, 0.1072, 0.1092, 0.1089, 0.1081),
    "hist_apprx": (0.0465, 0.0640, 0.0772, 0.0882, 0.0978, 0.1065, 0.1085, 0.1156, 0.1228, 0.1249, 0.1257),
    "hist_brute": (0.0427, 0.0568, 0.0703, 0.0811, 0.0868, 0.0955, 0.0972, 0.1036, 0.1066, 0.1063, 0.1066),
    "greedy": (0.0423, 0.0569, 0.0700, 0.0813, 0.0869, 0.0963, 0.1005, 0.1198, 0.1339, 0.1417, 0.1529),
    "greedy_opt": (0.0422, 0.0570, 0.0700, 0.0822, 0.0868, 0.0959, 0.0974, 0.1043, 0.1069, 0.1069, 0.1066),
    "kmeans": (0.0, 0.0, 0.0350, 0.0573, 0.0736, 0.0839, 0.0918, 0.0973, 0.1004, 0.1009, 0.1011),
}
"""Normalised l2 loss of a ten-row table of N(0, 1) at 4 bits, by method, for each dimension."""

FIGURE_2_ENDS = {
    "asym": (0.066, 0.26),
    "aciq": (0.16, 0.40),
    "gss": (1.0, 4.3),
    "greedy": (2.9, 12.6),
    "hist_apprx": (4.1, 48.0),
    "greedy_opt": (40.0, 232.0),
    "hist_brute": (60_300.0, 60_300.0),
}
"""Milliseconds per row of the paper's Python programs at d = 8 and d = 16384, on a Xeon E5-1607 of 3.0 GHz."""

TABLE_2_DIMENSIONS = (8, 16, 32, 64, 128)
TABLE_2 = {
    "asym-8": (0.00260, 0.00329, 0.00376, 0.00387, 0.00400),
    "sym": (0.05564, 0.06296, 0.06785, 0.06836, 0.06928),
    "gss": (0.05269, 0.05965, 0.06328, 0.06400, 0.06423),
    "asym": (0.04451, 0.05479, 0.06387, 0.06608, 0.06781),
    "hist_apprx": (0.04452, 0.05512, 0.06409, 0.06589, 0.06768),
    "hist_brute": (0.04156, 0.05082, 0.05881, 0.06083, 0.06272),
    "aciq": (0.04451, 0.05479, 0.06387, 0.06742, 0.07665),
    "greedy": (0.03889, 0.04878, 0.05744, 0.05991, 0.06221),
    "kmeans_cls": (0.03948, 0.05349, 0.06826, 0.07369, 0.07287),
    "kmeans": (0.0, 0.0, 0.03670, 0.05160, 0.05781),
}
"""Normalised l2 loss on tables trained on Criteo. Scales in f32; codebooks of KMEANS and KMEANS-CLS in f16."""

TABLE_3 = {
    ("asym", 8, "f32"): (49.98, 37.49, 31.25, 28.12, 26.56),
    ("asym", 4, "f32"): (37.49, 24.99, 18.75, 15.62, 14.06),
    ("greedy", 4, "f16"): (24.99, 18.74, 15.62, 14.06, 13.28),
    ("kmeans", 4, "f16"): (None, None, 37.50, 25.00, 18.75),
}
"""Size in per cent of f32, by method, bits and type of scales or codebooks. SYM, GSS, HIST-* and ACIQ are as ASYM."""
PRODUCTION = {"method": "greedy", "bits": 4, "parameters": "f16", "percent": 13.89, "dimension": 72}
"""The size that the paper gives for Facebook's ranking model; rows of 72 have it."""


@dataclass(frozen=True)
class Contender:
    """A method with the options that the paper's name for it stands for."""

    key: str
    title: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)


CONTENDERS = (
    Contender("table", "TABLE", "table"),
    Contender("sym", "SYM", "sym"),
    Contender("gss", "GSS", "gss"),
    Contender("asym", "ASYM", "asym"),
    Contender("aciq", "ACIQ", "aciq"),
    Contender("hist_apprx", "HIST-APPRX", "hist_apprx"),
    Contender("hist_brute", "HIST-BRUTE", "hist_brute"),
    Contender("greedy", "GREEDY", "greedy"),
    Contender("greedy_opt", "GREEDY (opt)", "greedy", {"b": 1000, "r": 0.5}),
    Contender("kmeans_cls", "KMEANS-CLS", "kmeans_cls"),
    Contender("kmeans", "KMEANS", "kmeans", {"solver": "lloyd"}),
    Contender("kmeans_exact", "KMEANS, solved exactly", "kmeans", {"solver": "exact"}),
    Contender("least_squares", "Least squares (ours)", "least_squares"),
)
TITLES = {contender.key: contender.title for contender in CONTENDERS}


def available() -> list[Contender]:
    """Return the contenders whose method this build has."""
    names = {method.name for method in ec.methods()}
    return [contender for contender in CONTENDERS if contender.method in names]


def compress(weight: Any, contender: Contender, *, bits: int = 4, parameters: str = "f32") -> ec.Table:
    """Compress as the paper does: scales or codebooks of the given type, and no falling back to min-max."""
    (method,) = (method for method in ec.methods() if method.name == contender.method)
    known = {option.name for option in method.options}
    options = {"bits": bits, "scale_dtype": parameters, "entry_dtype": parameters, "fallback": False}
    options |= contender.options
    return ec.compress(weight, method.name, **{name: value for name, value in options.items() if name in known})
