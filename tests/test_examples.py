"""Every public name shows its use: an example in its docstring, which pytest runs with the package, and README's."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

import heavytail
from heavytail import networks
from heavytail.lab import datasets, models
from heavytail.lab.datasets import vision

CONTRACT = [
    heavytail.train,
    heavytail.sweep,
    heavytail.Run,
    heavytail.grid,
    heavytail.perturb,
    heavytail.stable.symmetric,
    heavytail.stable.positive,
    heavytail.stable.isotropic,
    heavytail.compress.error_curve,
    heavytail.compress.prune,
    heavytail.compress.shrink,
    heavytail.compress.save,
    heavytail.compress.measure,
    heavytail.lab.datasets.load,
    heavytail.laws.predicted_error,
    heavytail.laws.predicted_ratio,
    heavytail.laws.required_width,
    heavytail.tails.hill,
    heavytail.tails.log_moment,
]


@pytest.mark.parametrize("thing", CONTRACT, ids=lambda thing: f"{thing.__module__}.{thing.__name__}")
def test_a_public_name_has_an_example(thing):
    assert any(found.examples for found in doctest.DocTestFinder(recurse=False).find(thing, thing.__name__))


def test_the_recipe_of_how_strong_a_noise_says_more_the_stronger(capsys):
    recipes = (Path(__file__).parents[1] / "book" / "recipes.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(
        r"```python\n(.*?)```", recipes.partition("## How strong a noise\n")[2].partition("\n## ")[0], re.DOTALL
    )
    exec(compile(snippet, "strength", "exec"), {})
    ratios = re.findall(r": (\d+)% of the neurons", capsys.readouterr().out)
    assert [int(ratio) for ratio in ratios] == [12, 26, 70]


@pytest.mark.long
def test_the_recipes_of_a_network_and_of_looks_run_as_they_are_shown():
    recipes = (Path(__file__).parents[1] / "book" / "recipes.md").read_text(encoding="utf-8")
    network, history, on_look = (
        block
        for title in ("A network of your own", "Loss and accuracy along the way")
        for block in re.findall(
            r"```python\n(.*?)```", recipes.partition(f"## {title}\n")[2].partition("\n## ")[0], re.DOTALL
        )
    )
    images = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(50) % 3
    mine = datasets.from_arrays("mine", images[:40], labels[:40], images[40:], labels[40:])
    names = {"heavytail": heavytail, "nn": torch.nn, "mine": mine}
    exec(compile(network, "network", "exec"), names)
    assert names["results"].table["status"].tolist() == ["max_steps"] * 2
    run = names["runs"][0]
    trained = models.final_model(run, names["results"].weights(run), mine, names["convolutional"])
    assert trained(images).shape == (50, 3)

    names["runs"] = heavytail.grid(dataset="digits", width=20, lr=0.1, max_steps=30)
    exec(compile(history.replace('.plot("step", "train_loss")', "[['step', 'train_loss']]"), "history", "exec"), names)
    assert names["results"].history["step"].tolist() == [10, 20, 30]
    said = []
    exec(compile(on_look, "on_look", "exec"), {**names, "print": lambda *line: said.append(line)})
    assert [line[2] for line in said] == [10, 20, 30]


@pytest.mark.long
def test_the_recipe_of_a_smaller_network_runs_as_it_is_shown(capsys):
    recipes = (Path(__file__).parents[1] / "book" / "recipes.md").read_text(encoding="utf-8")
    text = recipes.partition("## A smaller network to ship\n")[2].partition("\n## ")[0]
    vision.torchvision_datasets()  # a build of torch for the CPU alone has no torchvision before
    torchvision = importlib.import_module("torchvision")
    names = {"heavytail": heavytail, "torch": torch, "nn": torch.nn, "torchvision": torchvision}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(compile(block, "recipe", "exec"), names)
    assert "layer1.0.conv1" in capsys.readouterr().out
    for whole, less, share in (
        ("model", "small", 0.5), ("block", "shorter", 0.6), ("vit", "thinner", 0.8), ("own", "small_own", 1)
    ):  # fmt: skip
        before, after = (sum(p.numel() for p in names[name].parameters()) for name in (whole, less))
        assert after < share * before, less
    torch.testing.assert_close(names["small_own"](names["rows"]), names["pruned"](names["rows"]))


@pytest.mark.long
@pytest.mark.usefixtures("onnx_operators_read_once")
def test_what_the_readme_shows_runs_as_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # it writes files
    measure = heavytail.compress.measure
    monkeypatch.setattr(heavytail.compress, "measure", lambda models, seconds: measure(models, seconds=seconds / 40))
    readme = Path(__file__).resolve().parents[1] / "README.md"
    block = "\n".join(re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL))
    model = networks.fcn(64, width=30, depth=1, classes=10, generator=torch.Generator().manual_seed(1))
    names = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    generator = torch.Generator().manual_seed(2)
    for split, count in (("train", 40), ("test", 10)):
        names[f"x_{split}"] = torch.randn(count, 5, generator=generator)
        names[f"y_{split}"] = torch.arange(count) % 3
    pictures = torch.randn(3, 8, 64, generator=generator)
    names["shards"] = [heavytail.federated.Shard(x, torch.arange(8)) for x in pictures]
    exec(compile(block, readme.name, "exec"), names)
    assert names["done"].answered == (0, 1, 2)
    assert list(names["results"].table["noise"]) == ["shared", "entrywise"]
    assert isinstance(names["small"], torch.nn.Module)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.ht", "small.onnx"]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == ["model", "small"]
    assert names["own"].table["status"].tolist() == ["max_steps"]
    (call, width) = re.search(r"^(heavytail\.laws\.required_width\(.*\))  # (\d+)$", block, re.MULTILINE).groups()
    assert round(eval(call, names)) == int(width)
