"""What becomes of the buffers: saving, loading, casting, copying, moving."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import embedcompress as ec
from embedcompress import nn

ROWS, DIMENSION = 50, 12
IDS = torch.arange(ROWS)


def weight(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, DIMENSION), dtype=np.float32)


def bf16(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).bfloat16()


TABLES = {
    "f32": lambda: ec.dense(weight()),
    "f16": lambda: ec.dense(weight().astype(np.float16)),
    "bf16": lambda: ec.dense(bf16(weight())),
    "4 bits": lambda: ec.compress(weight(), "greedy", bits=4),
    "16 bits": lambda: ec.compress(weight(), "asym", bits=16),
    "modulo": lambda: ec.remap(ec.compress(weight(rows=20), "asym", bits=3), rows=ROWS, modulo=20),
    "map": lambda: ec.remap(ec.dense(weight()), map=np.arange(ROWS)[::-1] - 1),
}


@pytest.fixture(params=TABLES)
def table(request):
    return TABLES[request.param]()


def rows(module: torch.nn.Module) -> torch.Tensor:
    return module(IDS)


def test_buffers_are_integers_on_the_tables_memory(table):
    module = nn.CompressedEmbedding(table)
    arrays = list(table.parts()[1].values())
    assert all(not buffer.is_floating_point() for buffer in module.buffers())
    for buffer, array in zip(module.parts.arrays(), arrays, strict=True):
        assert buffer.data_ptr() == array.values.ctypes.data


def test_casts_change_the_rows_dtype_and_nothing_else(table):
    module = nn.CompressedEmbedding(table)
    expected = rows(module)
    before = {name: buffer.clone() for name, buffer in module.state_dict().items()}
    for cast, dtype in [
        (lambda m: m.half(), torch.float16),
        (lambda m: m.to(torch.bfloat16), torch.bfloat16),
        (lambda m: m.double(), torch.float64),
        (lambda m: m.type(torch.float16), torch.float16),
        (lambda m: m.type(torch.int32), torch.float16),
        (lambda m: m.to("cpu"), torch.float16),
        (lambda m: m.float(), torch.float32),
    ]:
        cast(module)
        assert module.dtype is dtype
        assert torch.equal(rows(module), expected.to(dtype))
        for name, buffer in module.state_dict().items():
            assert buffer.dtype is before[name].dtype and torch.equal(buffer, before[name])


@pytest.mark.parametrize("assign", [False, True])
def test_state_goes_into_a_module_of_another_expression(table, assign):
    module = nn.CompressedEmbedding(table)
    file = io.BytesIO()
    torch.save(module.half().state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = nn.CompressedEmbedding(ec.compress(weight(1), "asym", bits=8))
    old = other.table
    before = old.decode()
    result = other.load_state_dict(state, assign=assign)
    assert not result.missing_keys and not result.unexpected_keys
    assert torch.equal(rows(other), rows(module.float()))
    assert (old.decode() == before).all()
    assert str(other.table) == str(table)
    for key in state:
        state[key].fill_(0) if not assign else None
    assert torch.equal(rows(other), rows(module))
    assert other.state_dict().keys() == module.state_dict().keys()


def test_pickle_deepcopy_and_whole_module_saves(table):
    module = nn.CompressedEmbeddingBag(table, "sum", padding_idx=3)
    expected = module(IDS[None])
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for other in (
        copy.deepcopy(module),
        copy.copy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(file, weights_only=False),
    ):
        assert torch.equal(other(IDS[None]), expected)
        assert (other.mode, other.padding_idx) == ("sum", 3)
        pointers = [array.values.ctypes.data for array in other.table.parts()[1].values()]
        assert [tensor.data_ptr() for tensor in other.parts.arrays()] == pointers
    assert torch.equal(module(IDS[None]), expected)


def test_deepcopy_has_memory_of_its_own():
    module = nn.CompressedEmbedding(TABLES["4 bits"]())
    other = copy.deepcopy(module)
    expected = rows(other)
    for buffer in module.parts.arrays():
        buffer.fill_(0)
    assert torch.equal(rows(other), expected)


def test_shared_memory(table):
    module = nn.CompressedEmbedding(table)
    expected = rows(module)
    module.share_memory()
    assert all(buffer.is_shared() for buffer in module.buffers())
    assert torch.equal(rows(module), expected)
    pointers = [tensor.data_ptr() for tensor in module.parts.arrays()]
    module.share_memory()
    assert pointers == [tensor.data_ptr() for tensor in module.parts.arrays()]
    assert pointers == [array.values.ctypes.data for array in module.table.parts()[1].values()]


def test_sending_a_module_to_a_process_leaves_its_table_alone():
    # It moves the memory under the buffers.
    from multiprocessing.reduction import ForkingPickler

    import torch.multiprocessing

    state = nn.CompressedEmbedding(TABLES["4 bits"]()).state_dict()
    module = nn.CompressedEmbedding(ec.compress(weight(1), "asym", bits=8))
    module.load_state_dict(state)
    expected = rows(module)
    other = pickle.loads(ForkingPickler.dumps(module))
    assert torch.equal(rows(module), expected)
    assert torch.equal(rows(other), expected)


def test_functional_call_uses_the_tensors_that_it_is_given():
    first = nn.CompressedEmbedding(ec.compress(weight(0), "asym", bits=4))
    second = nn.CompressedEmbedding(ec.compress(weight(1), "asym", bits=4))
    expected = rows(first)
    assert torch.equal(torch.func.functional_call(first, second.state_dict(), IDS), rows(second))
    assert torch.equal(rows(first), expected)


def test_meta_and_other_devices():
    table = TABLES["4 bits"]()
    with torch.device("meta"):
        module = nn.CompressedEmbedding(table)
    expected = rows(module)
    state = module.state_dict()
    module.to("meta")
    assert all(buffer.is_meta for buffer in module.buffers())
    with pytest.raises(RuntimeError, match="meta"):
        rows(module)
    copy.deepcopy(module)
    module.to_empty(device="cpu")
    module.load_state_dict(state)
    assert torch.equal(rows(module), expected)
    module.to_empty(device="cpu")
    assert torch.equal(rows(module), expected)
    assert module(torch.empty(3, 2, dtype=torch.int64, device="meta")).shape == (3, 2, DIMENSION)
    with FakeTensorMode(), pytest.raises(RuntimeError, match="CPU"):
        module._apply(lambda tensor: torch.empty_like(tensor, device="cuda"))
    assert torch.equal(rows(module), expected)


def broken(change):
    state = nn.CompressedEmbedding(TABLES["4 bits"]()).state_dict()
    change(state)
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: {}, "Missing key.*parts.expression"),
        (lambda: {"weight": torch.zeros(ROWS, DIMENSION)}, "Unexpected key.*weight"),
        (lambda: broken(lambda s: s.pop("parts.rows")), "Missing key.*parts.rows"),
        (lambda: broken(lambda s: s.update({"parts.rows": s["parts.rows"][:-1]})), "parts"),
        (lambda: broken(lambda s: s.update({"parts.rows": s["parts.rows"].to("meta")})), "meta"),
        (lambda: broken(lambda s: s.update({"parts.rows": s["parts.rows"].int()})), "must be of torch.uint8"),
        (lambda: broken(lambda s: s.update({"parts.rows": 3})), "must be a tensor"),
        (lambda: broken(lambda s: s.update({"parts.expression": torch.zeros(3)})), "must be uint8"),
        (lambda: broken(lambda s: s["parts.expression"].fill_(255)), "can't be read"),
        (lambda: broken(lambda s: s["parts.expression"].fill_(ord("["))), "can't be read"),
        (
            lambda: broken(lambda s: s.update({"parts.expression": torch.full((100_000,), 91, dtype=torch.uint8)})),
            "can't be read",
        ),
        (lambda: nn.CompressedEmbedding(ec.dense(weight(rows=ROWS + 1))).state_dict(), "51 x 12"),
    ],
)
def test_bad_states_are_named_and_change_nothing(state, message):
    module = nn.CompressedEmbedding(ec.compress(weight(1), "asym", bits=8))
    expected = rows(module)
    with pytest.raises(RuntimeError, match=f"(?s){message}"):
        module.load_state_dict(state())
    assert torch.equal(rows(module), expected)


def test_unexpected_keys_are_named():
    module = nn.CompressedEmbedding(TABLES["4 bits"]())
    state = module.state_dict()
    state["parts.extra"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*parts\.extra"):
        module.load_state_dict(state)
    assert module.load_state_dict(state, strict=False).unexpected_keys == ["parts.extra"]


def test_version_and_names_of_the_expression_are_checked():
    import json

    module = nn.CompressedEmbedding(TABLES["4 bits"]())
    tree = {**json.loads(module.parts.text)["tree"], "tensors": {"rows": "training"}}
    for change, message in [
        ({"version": 2}, "version 2"),
        ({"arrays": [["rows", "u9"]]}, "unknown type"),
        ({"arrays": [["a.b", "u8"], ["a__b", "u8"]]}, "same name"),
        ({"arrays": [["training", "u8"]], "tree": tree}, "training"),
    ]:
        text = json.dumps({**json.loads(module.parts.text), **change}).encode()
        state = module.state_dict()
        state["parts.expression"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        state["parts.training"] = state["parts.rows"]
        with pytest.raises(RuntimeError, match=message):
            module.load_state_dict(state)


def test_a_table_left_in_its_file(tmp_path, recwarn):
    TABLES["4 bits"]().save(tmp_path / "t.safetensors")
    table = ec.load(tmp_path / "t.safetensors")
    module = nn.CompressedEmbedding(table)
    assert torch.equal(rows(module), torch.from_numpy(table.decode()))
    assert torch.equal(rows(copy.deepcopy(module)), rows(module))
    assert not recwarn.list


def test_a_table_without_rows():
    module = nn.CompressedEmbeddingBag(ec.compress(weight(rows=0), "asym", bits=4))
    other = pickle.loads(pickle.dumps(module))
    assert other(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, DIMENSION)


def test_safetensors_keeps_tied_modules_together(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")

    def model(seed: int, bits: int) -> torch.nn.ModuleDict:
        one = torch.nn.Embedding.from_pretrained(torch.from_numpy(weight(seed)))
        two = torch.nn.Embedding.from_pretrained(torch.zeros(1, 1))
        two.weight = one.weight
        result = torch.nn.ModuleDict({"a": one, "b": two})
        nn.compress_model_(result, "asym", minimum_rows=1, bits=bits)
        return result

    source, target = model(0, 4), model(1, 8)
    safetensors.save_model(source, str(tmp_path / "model.safetensors"))
    assert len(safetensors.load_file(tmp_path / "model.safetensors")) == 2
    missing, unexpected = safetensors.load_model(target, str(tmp_path / "model.safetensors"))
    assert not missing and not unexpected
    for name in "ab":
        assert torch.equal(rows(target[name]), rows(source["a"]))
