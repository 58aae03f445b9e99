"""Methods that other packages register: a class in a module outside, listed and taken like all others."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import embedcompress as ec
from embedcompress import training
from embedcompress.cli import main

ROOT = Path(__file__).parents[2]

STRANGER = '''
import torch
from torch import nn
from torch.nn import functional

import embedcompress as ec
from embedcompress import training


@training.register
class Shorter(training.LearnedEmbedding):
    """Rows of fewer columns, padded with zeros."""

    method = ec.Method(
        name="shorter",
        title="Shorter-Rows",
        family="mixed dimension",
        stage="while training",
        paper="-",
        summary="rows of fewer columns, padded with zeros",
        bytes_per_row="4 * width",
        cost="that of torch.nn.Embedding",
        options=(ec.Option("least", "integer", 1, "columns of a row at least", minimum=1, maximum=8),),
    )

    def __init__(self, spec, mode=None, **options):
        super().__init__(spec, mode, **options)
        self.weight = nn.Parameter(self.initial(spec.rows, self.planned.knobs["width"]))

    @classmethod
    def plan(cls, spec, **options):
        def size(width):
            return 4 * width * (spec.rows + spec.dimension)

        width = training.largest("shorter", spec, options["least"], spec.dimension, size)
        return training.Plan(size(width), {"width": width})

    def rows(self, ids):
        narrow = functional.embedding(ids, self.weight)
        return functional.pad(narrow, (0, self.spec.dimension - narrow.shape[1]))

    def _frozen(self):
        matrix = torch.eye(self.weight.shape[1], self.spec.dimension).numpy()
        return ec.project(training.frozen_rows(self.weight), matrix)
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Return a folder with an installed package: a module, and metadata that names it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "stranger_rows.py").write_text(STRANGER)
    metadata = folder / "stranger_rows-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-rows\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[embedcompress.methods]\nshorter = stranger_rows\n")
    return folder


def python(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "python")])}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_method_of_another_package(package):
    """Everything that takes a name takes it; the trainer trains it as any module of torch."""
    script = textwrap.dedent("""
        import numpy as np, torch
        from pathlib import Path
        import embedcompress as ec
        from embedcompress import training
        from embedcompress.bench import _train_config

        assert [one.name for one in training.methods()][-2:] == ["cafe", "shorter"]
        entry = next(one for one in training.methods() if one.name == "shorter")
        assert (entry.title, entry.family, entry.options[0].values) == (
            "Shorter-Rows", "mixed dimension", "an integer from 1 to 8")
        assert training.plan("Shorter-Rows", 100, 16, budget=0.5).knobs == {"width": 6}
        for spelling in ("shorter", "SHORTER ROWS"):
            module = training.embedding(spelling, 100, 16, budget=0.5, seed=3)
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        before = module(torch.arange(100)).detach().clone()
        module(torch.tensor([1, 2])).sum().backward()
        optimizer.step()
        table = module.freeze()
        assert table.stored_bytes == module.stored_bytes <= 0.5 * 100 * 16 * 4
        np.testing.assert_allclose(table.decode(), module(torch.arange(100)).detach().numpy(), atol=1e-6)
        assert not np.allclose(before.numpy(), table.decode())
        for options, text in (({"least": 9}, "shorter: least must be an integer from 1 to 8, not 9"),
                              ({"most": 1}, "shorter has no option 'most'; its options are least")):
            try:
                training.plan("shorter", 100, 16, budget=0.5, **options)
            except ValueError as error:
                assert text in str(error), error
            else:
                raise AssertionError(options)
        try:
            ec.compress(before.numpy(), "shorter")
        except ValueError as error:
            assert "Shorter-Rows works while training" in str(error), error
        else:
            raise AssertionError("compressed")
        Path("bench.toml").write_text("[[grid]]\\ndata = ['flights']\\nmethods = ['Shorter-Rows', 'full']\\n")
        config = _train_config.read(Path("bench.toml"))
        assert [one["method"] for one in config.requests()].count("shorter") == 3
        assert config.grids[0].methods == ("shorter", "full")
    """)
    (package / "script.py").write_text(f"import os\nos.chdir({str(package)!r})\n{script}")
    done = python(package, str(package / "script.py"))
    assert done.returncode == 0, done.stderr


def test_the_trainer_trains_it(package):
    script = textwrap.dedent("""
        import sys
        sys.path.insert(0, sys.argv[1])
        import torch
        from torch import nn
        from embedcompress import training

        torch.manual_seed(0)
        table = training.embedding("shorter", 50, 8, budget=0.9)
        model = nn.Sequential(table, nn.Flatten(0), nn.Linear(8 * 16, 1))
        batches = [torch.randint(0, 50, (16,)) for _ in range(20)]
        def loss(model, batch):
            return (model(batch) - 1).square().sum()
        before = sum(loss(model, batch).item() for batch in batches)
        training.Trainer(model, loss, epochs=3).fit(lambda epoch: batches)
        after = sum(loss(model, batch).item() for batch in batches)
        assert after < 0.9 * before, (before, after)
        assert table.is_finished
    """)
    done = python(package, "-c", script, str(package))
    assert done.returncode == 0, done.stderr


def test_the_command_line_names_it(package):
    done = python(package, "-m", "embedcompress.cli", "methods", "--stage", "while-training", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[-1]["name"] == "shorter"
    plan = ("plan", "--method", "Shorter-Rows", "--fields", "60,40", "--dim", "16", "--budget", "0.5", "--json")
    done = python(package, "-m", "embedcompress.cli", *plan)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["knobs"] == {"width": 6}


def test_a_module_that_can_not_be_imported_is_named(package, tmp_path):
    metadata = tmp_path / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[embedcompress.methods]\nbroken = no_such_module\n")
    done = python(tmp_path, "-c", "import embedcompress.training")
    assert "ImportError: broken has methods in no_such_module, which can't be imported" in done.stderr


def entry(**changes):
    fields = {"name": "mine", "title": "Mine", "family": "hashing", "stage": "while training", "paper": "-"}
    return ec.Method(**fields | {"summary": "s", "bytes_per_row": "4", "cost": "c"} | changes)


class Whole(training.LearnedEmbedding):
    method = entry()

    @classmethod
    def plan(cls, spec, **options):
        return training.Plan(spec.full_bytes, {})

    def rows(self, ids):
        return torch.zeros(len(ids), self.embedding_dim)

    def _frozen(self):
        return ec.dense(np.zeros((self.num_embeddings, self.embedding_dim), np.float32))


def without(name):
    return type("Less", (Whole,), {name: getattr(training.LearnedEmbedding, name)})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: "mine", TypeError, "register takes a subclass of LearnedEmbedding, not 'mine'"),
        (lambda: torch.nn.Embedding, TypeError, "register takes a subclass of LearnedEmbedding"),
        (lambda: without("plan"), TypeError, "Less has no plan, which a method needs"),
        (lambda: without("rows"), TypeError, "Less has no rows, which a method needs"),
        (lambda: without("_frozen"), TypeError, "Less has no _frozen, which a method needs"),
        (
            lambda: type("Less", (Whole,), {"method": "mine"}),
            TypeError,
            "Less.method must be an embedcompress",
        ),
        (
            lambda: type("Less", (Whole,), {"stages": ()}),
            TypeError,
            "Less.stages must be the names of one",
        ),
        (lambda: type("Less", (Whole,), {"method": entry(name="robe")}), ValueError, r"taken by 'robe' \(ROBE\)"),
        (lambda: type("Less", (Whole,), {"method": entry(title="TT-Rec")}), ValueError, "taken by 'tt'"),
        (lambda: type("Less", (Whole,), {"method": entry(stage="after training")}), ValueError, "'while training'"),
        (lambda: type("Less", (Whole,), {"method": entry(family="magic")}), ValueError, "family must be one of"),
    ],
)
def test_what_is_no_method_is_refused(make, error, message):
    before = [one.name for one in training.methods()]
    with pytest.raises(error, match=message):
        training.register(make())
    assert [one.name for one in training.methods()] == before


def test_the_example_of_the_documents_runs_without_private_modules(tmp_path):
    text = (ROOT / "docs" / "training.md").read_text()
    section = text[text.index("## A method of your own") :]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    assert not re.search(r"(from|import) \S*\._|\b(ec|training)(\.\w+)*\._[a-z]", code)
    (tmp_path / "example.py").write_text(code)
    done = python(tmp_path, str(tmp_path / "example.py"))
    assert done.returncode == 0, done.stderr


def test_stages_of_the_command_line(capsys):
    for words, stage in (("after-training", "after training"), ("while-training", "while training"), ("all", None)):
        assert main(["methods", "--stage", words, "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)
        assert [(one["name"], one["stage"]) for one in listed] == [(one.name, one.stage) for one in ec.methods(stage)]
