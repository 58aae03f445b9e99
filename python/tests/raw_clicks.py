"""Lines of Criteo's and Avazu's raw files, and how data read from them compares."""

import numpy as np

AVAZU_HEADER = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,"
    "device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)


def criteo_line(label=0, numbers=None, fields=None):
    """A line whose numbers and fields can be given by their places from 1."""
    numbers = {1: "7", 2: "-3", **(numbers or {})}
    fields = {1: "05db9164", 2: "", **(fields or {})}
    cells = [numbers.get(i, "") for i in range(1, 14)] + [fields.get(i, "68fd1e64") for i in range(1, 27)]
    return "\t".join([str(label), *cells])


def numbered(count):
    """Criteo's lines whose first number is their place."""
    return [criteo_line(i % 2, {1: str(i)}) for i in range(count)]


def avazu_line(i, hour, label=0, site="1fbe01fe"):
    return (f"{1000009418151094273 + i},{label},{hour},1005,0,{site},f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,"
            "a99f214a,ddd2926e,44956a24,1,2,15706,320,50,1722,0,35,-1,79")  # fmt: skip


def write(path, lines, end="\n"):
    path.write_bytes("".join(line + end for line in lines).encode())
    return str(path)


def places(part):
    """The places of `numbered` lines."""
    return np.rint(np.expm1(part.numbers[:, 0].astype(np.float64))).astype(int).tolist()


def same(one, other):
    assert (one.fields, one.sizes, one.numbers) == (other.fields, other.sizes, other.numbers)
    for part in ("train", "validation", "test"):
        for kind in ("ids", "numbers", "labels"):
            np.testing.assert_array_equal(getattr(getattr(one, part), kind), getattr(getattr(other, part), kind))
