"""Results of `embedcompress bench train` that were never run, and what a page refers to."""

import html.parser

MACHINE = {"cpu": "a <cpu>", "processors": 2, "isa": "x86-64-v4", "versions": {"embedcompress": "0", "torch": "1"}}


def line(method, budget, auc, seed=0, data="flights", head="dlrm", options=None, **figures):
    found = {
        "auc": auc, "log_loss": 0.5, "cold_auc": auc - 0.01, "stored_bytes": int(1e6 * budget), "ratio": budget,
        "training_bytes": 5000, "peak_bytes": 400_000_000, "train_seconds": 10.0, "lookup_ns_per_row": 8.0,
    }  # fmt: skip
    request = {"data": data, "head": head, "method": method, "budget": budget, "seed": seed}
    request |= {"options": options} if options else {}
    return {"bench": "train", "request": request, "machine": MACHINE, "figures": found | figures, "seconds": 12.0}


def refused(method, budget, floor):
    return {
        "bench": "train", "request": {"data": "flights", "head": "dlrm", "method": method, "budget": budget, "seed": 0},
        "machine": MACHINE, "refused": f"the least it can reach is {floor} bytes", "floor": floor,
    }  # fmt: skip


class Page(html.parser.HTMLParser):
    """Collects what a page refers to."""

    def __init__(self, text):
        super().__init__()
        self.names, self.links, self.loads = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" and "href" in found else []
        self.loads += [found[name] for name in ("src", "href") if name in found and tag not in ("a", "use")]
