"""The pruning slider: its bytes are the networks, and what it shows without its script is the library's."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from heavytail import compress, networks
from heavytail.book import pieces
from heavytail.book import pruning_slider as slider

STATIC = Path(__file__).parents[2] / "book" / "_static"
WIDTH = 40
NAMES = ("none", "Type-I", "Type-II", "Type-III")


def weights(seed, width=WIDTH):
    """A network that nobody trained, one neuron of it a giant."""
    made = networks.fcn(64, width=width, depth=1, classes=10, generator=torch.Generator().manual_seed(seed))
    found = {name: weight.clone() for name, weight in made.state_dict().items()}
    found["1.weight"][3] *= 1e5
    return found


@pytest.fixture(scope="module")
def shown():
    pixels = torch.randint(0, 17, (320, 64), generator=torch.Generator().manual_seed(1))
    return slider.digits(pixels / 16, torch.arange(320) % 10)


@pytest.fixture(scope="module")
def made(shown):
    trained = {name: weights(seed) for seed, name in enumerate(NAMES)}
    return trained, slider.page(trained, shown, seed=5)


def held(page):
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page.text, re.DOTALL)
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def bytes_of(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def by_library(found, shown, *, keep, generator=None):
    """The accuracy that the library's own pruning leaves."""
    model = networks.fcn(64, width=WIDTH, depth=1, classes=10, generator=torch.Generator())
    model.load_state_dict(found)
    pruned = compress.prune(model, keep=keep, generator=generator)
    with torch.no_grad():
        answers = pruned(torch.from_numpy(shown.pixels) / 16).argmax(dim=1)
    return float((answers.numpy() == shown.labels).mean())


def test_the_page_holds_the_bytes_of_every_network_and_image(made, shown):
    trained, page = made
    data = held(page)
    assert np.array_equal(bytes_of(data["pixels"], np.uint8).reshape(-1, 64), shown.pixels)
    assert np.array_equal(bytes_of(data["labels"], np.uint8), shown.labels)
    assert shown.pixels.shape == (300, 64)
    for name, one in zip(NAMES, data["networks"], strict=True):
        packed = slider.pack(trained[name])
        for part, rows in (("incoming", packed.incoming), ("outgoing", packed.outgoing)):
            assert np.array_equal(bytes_of(one[part], np.int8).reshape(WIDTH, -1), rows.values)
            assert np.array_equal(bytes_of(one[f"{part}_scales"], "<f4"), rows.scales)
    assert data["random"] == compress.order(torch.ones(WIDTH, 1), generator=compress.chance(5)).tolist()


def test_a_byte_is_within_half_a_step_of_its_weight_and_what_bytes_stand_for_is_packed_without_loss():
    found = weights(0)
    packed = slider.pack(found)
    rounded = slider.unpack(packed)
    for name, scales in (("1.weight", packed.incoming.scales[:, None]), ("3.weight", packed.outgoing.scales)):
        assert rounded[name].shape == found[name].shape
        assert ((rounded[name] - found[name]).abs().numpy() <= 0.5001 * scales).all()
    again = slider.unpack(slider.pack(rounded))
    assert all(torch.allclose(again[name], rounded[name], rtol=1e-6) for name in rounded)


def test_a_neuron_of_zeros_stays_one():
    found = weights(0)
    found["1.weight"][7] = 0
    assert not slider.unpack(slider.pack(found))["1.weight"][7].any()


@pytest.mark.parametrize("gone", [0, 1, 20, 39])
def test_answers_are_those_of_the_network_that_the_library_prunes(shown, gone):
    found = weights(0)
    first, drawn = compress.order(found["1.weight"]), compress.order(found["1.weight"], generator=compress.chance(5))
    keep = 1 - gone / WIDTH
    assert slider.accuracy(found, shown, first[:gone]) == by_library(found, shown, keep=keep)
    assert slider.accuracy(found, shown, drawn[:gone]) == by_library(
        found, shown, keep=keep, generator=compress.chance(5)
    )


def test_without_its_script_the_page_has_a_table_of_the_librarys_numbers(made, shown):
    trained, page = made
    table = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page.text)
    assert [name for name, _ in table] == ["plain SGD", *NAMES[1:]]
    for name, (_, cells) in zip(NAMES, table, strict=True):
        found = slider.unpack(slider.pack(trained[name]))
        share = compress.prunable_share(found["1.weight"])
        kept = [by_library(found, shown, keep=keep) for keep in (1, 1 - share, 0.1)]
        kept.append(by_library(found, shown, keep=0.1, generator=compress.chance(5)))
        kept.insert(1, share)
        assert re.findall(r"<td>(.*?)</td>", cells) == [f"{number:.1%}" for number in kept]


def test_what_the_rounding_costs_is_said(made, shown):
    trained, page = made
    rounded = {name: slider.unpack(slider.pack(found)) for name, found in trained.items()}
    errors = [
        float((trained[n]["1.weight"] - rounded[n]["1.weight"]).norm() / trained[n]["1.weight"].norm()) for n in NAMES
    ]
    changed = [int((slider.answers(trained[n], shown) != slider.answers(rounded[n], shown)).sum()) for n in NAMES]
    (said,) = re.findall(r"its squared error is (0\.0*[1-9]) at most", page.text)
    assert float(said) == float(f"{max(errors) ** 2:.1g}")
    assert f"at most {max(changed)} of the 300 answers" in page.text or ("no answer" in page.text and not any(changed))
    assert "no answer of a network" in slider.page(rounded, shown, seed=5).text


def test_what_cannot_be_shown_is_refused_in_one_sentence(shown):
    with pytest.raises(ValueError, match=r"one hidden layer, 1\.weight and 3\.weight: got"):
        slider.pack({**weights(0), "5.weight": torch.ones(1, 1)})
    with pytest.raises(ValueError, match="not finite"):
        slider.pack({**weights(0), "3.weight": torch.full((10, WIDTH), math.inf)})
    for wrong in (0.01, -1.0, 17.0):
        with pytest.raises(ValueError, match="whole numbers from 0 to 255 over 16"):
            slider.digits(torch.full((2, 64), wrong), torch.zeros(2))
    for few in ({"Type-I": weights(0)}, {"none": weights(0)}, {"none": weights(0), "Type-I": weights(0, width=7)}):
        with pytest.raises(ValueError, match="one width, 'none' and noises"):
            slider.page(few, shown, seed=5)


def test_colours_are_those_of_the_figures_and_nothing_is_fetched_from_elsewhere(made):
    style, script = ((STATIC / f"pruning.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    of_plain = re.findall(r"--pruning-plain: (#\w+);", style)
    assert f"light-dark({', '.join(of_plain)})" == pieces.colour("none")
    assert [one["colour"] for one in held(made[1])["networks"]] == [pieces.colour(name) for name in NAMES]
    assert re.findall(r"https?://", made[1].text + style + script) == []
