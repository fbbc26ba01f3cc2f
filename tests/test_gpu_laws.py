"""The laws of the CPU's kicks once more, of those of a GPU's kernels: the same tests, with fewer draws.

Seeded, false alarm 1e-6 a check. A law of the CPU's that is not asked here fails a test.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from goodness_of_fit import follows_symmetric

pytest.importorskip("triton", reason="needs triton, which there is for Linux")
from gpu_kicks import DEVICE, KERNELS, KEYS, launch
from samplers import Sampler
from test_noise import (  # noqa: F401
    test_added_noise_has_the_law_of_a_draw,
    test_added_noise_ties_a_neuron_as_its_name_says,
    test_noise_added_to_a_convolution_ties_its_unit,
)
from test_sampler import (  # noqa: F401
    independent,
    test_addresses_that_differ_in_one_part_are_independent,
    test_normals_are_independent_at_every_lag_of_the_layout,
    test_numbers_of_a_lane_are_independent_at_every_lag_of_the_layout,
    test_the_sign_of_a_draw_says_nothing_of_its_size,
    test_the_test_rejects_an_echo_of_one_number_in_twenty,
)
from test_sampler_laws import (  # noqa: F401
    test_as_many_kicks_lie_in_the_tail_as_the_law_says,
    test_as_many_positive_kicks_are_large_and_small_as_the_law_says,
    test_at_one_half_the_positive_law_is_levys,
    test_at_one_the_squared_isotropic_norm_is_fisher_distributed,
    test_at_two_a_kick_is_normal_and_at_one_it_is_cauchy,
    test_every_projection_of_an_isotropic_kick_is_symmetric_of_scale_one,
    test_isotropic_kicks_are_spread_evenly_over_directions,
    test_isotropic_kicks_have_a_characteristic_function_of_the_norm_alone,
    test_kicks_at_extreme_indices_are_finite,
    test_positive_kicks_follow_the_positive_law,
    test_positive_kicks_have_the_laplace_transform,
    test_signs_of_far_kicks_are_fair,
    test_symmetric_kicks_follow_the_law,
    test_the_mean_of_cosines_is_the_characteristic_function,
    test_the_projection_test_rejects_independent_entries,
    test_the_tail_test_rejects_an_index_off_by_a_tenth,
    test_the_test_rejects_a_neighbouring_law,
    test_the_two_normals_of_a_pair_are_independent,
)

from heavytail import noise
from heavytail.noise import Kick

pytestmark = pytest.mark.gpu


@pytest.fixture
def sampler() -> Sampler:
    """Of what is imported above: a fixture of this file goes before that of all tests."""
    return KERNELS


@pytest.mark.parametrize("kind", noise.NOISES)
def test_every_run_of_a_grid_has_the_law_of_its_own_index(kind: noise.Noise) -> None:
    alphas, weights = (1.2, 1.9), torch.zeros(2, 50_000, 3, device=DEVICE)
    launch(weights, {row: Kick(alpha, kind, "filter", 1.0, KEYS[row], 3) for row, alpha in enumerate(alphas)}, layer=1)
    ends = weights[:, :, -1].cpu()
    for own, alpha, other in zip(ends, alphas, alphas[::-1], strict=True):
        assert follows_symmetric(own, alpha)
        assert not follows_symmetric(own, other)
    assert independent(*ends)
    assert not independent(ends[0], ends[0])


# ---- is every law asked here?

ASKED = {name for name in vars() if name.startswith("test_")}
FILES = [
    Path(__file__).with_name(f"{name}.py")
    for name in ("test_sampler", "test_sampler_laws", "test_noise", "test_stable")
]
# Laws with another name there, most of them of draws from a generator, by what stands for them here.
SAME = {
    "test_symmetric_kicks_follow_the_law": {
        "test_symmetric_draws_follow_scipys_law",
        "test_symmetric_draws_follow_the_law_at_awkward_indices",
    },
    "test_the_test_rejects_a_neighbouring_law": {
        "test_the_symmetric_test_rejects_an_index_off_by_a_tenth",
        "test_the_symmetric_test_rejects_a_scale_off_by_a_twentieth",
    },
    "test_at_two_a_kick_is_normal_and_at_one_it_is_cauchy": {
        "test_at_two_the_symmetric_law_is_normal_of_variance_two_not_one",
        "test_at_one_the_symmetric_law_is_cauchy",
    },
    "test_signs_of_far_kicks_are_fair": {"test_signs_are_fair_in_the_body_and_in_the_tail"},
    "test_numbers_of_a_lane_are_independent_at_every_lag_of_the_layout": {
        "test_neighbouring_draws_are_independent_in_sign_and_size"
    },
    "test_as_many_kicks_lie_in_the_tail_as_the_law_says": {
        "test_as_many_draws_lie_in_the_tail_as_the_law_says",
        "test_far_draws_meet_the_tail_constant",
    },
    "test_positive_kicks_have_the_laplace_transform": {
        "test_positive_draws_have_the_laplace_transform",
        "test_the_laplace_test_rejects_a_wrong_index_and_a_wrong_scale",
    },
    "test_positive_kicks_follow_the_positive_law": {"test_positive_draws_follow_the_positive_law"},
    "test_as_many_positive_kicks_are_large_and_small_as_the_law_says": {
        "test_as_many_positive_draws_are_large_and_small_as_the_law_says"
    },
    "test_every_projection_of_an_isotropic_kick_is_symmetric_of_scale_one": {
        "test_every_projection_of_an_isotropic_draw_is_symmetric_of_scale_one",
        "test_the_projection_test_rejects_a_vector_without_the_factor_two",
        "test_a_one_dimensional_isotropic_draw_is_symmetric",
    },
    "test_isotropic_kicks_have_a_characteristic_function_of_the_norm_alone": {
        "test_isotropic_draws_have_a_characteristic_function_of_the_norm_alone"
    },
    "test_isotropic_kicks_are_spread_evenly_over_directions": {
        "test_isotropic_vectors_are_spread_evenly_over_directions"
    },
    "test_the_two_normals_of_a_pair_are_independent": {
        "test_at_two_the_isotropic_law_is_normal_with_independent_entries_of_variance_two",
        "test_at_two_isotropic_noise_is_entrywise",
    },
    "test_added_noise_has_the_law_of_a_draw": {
        "test_every_noise_has_the_same_marginal_law_of_scale_one",
        "test_an_isotropic_neuron_has_one_radius",
        "test_noise_added_on_a_gpu_has_an_address_too",
    },
    "test_added_noise_ties_a_neuron_as_its_name_says": {
        "test_the_three_noises_are_told_apart_by_how_a_neuron_hangs_together"
    },
    "test_noise_added_to_a_convolution_ties_its_unit": {
        "test_the_noise_of_a_convolution_has_the_same_marginal_law",
        "test_a_filter_is_tied_across_its_kernels_and_a_kernel_only_within",
    },
    "test_every_run_of_a_grid_has_the_law_of_its_own_index": {
        "test_every_unit_may_have_an_index_of_its_own",
        "test_a_tensor_alpha_gives_each_draw_its_own_law",
        "test_an_isotropic_draw_mixes_gaussian_and_heavy_rows",
    },
}
NOT_ASKED = {
    "10^8 draws and more, of which those of the kernels differ in their last digits: see test_gpu_kernels.py": {
        "test_a_billion_kicks_are_finite_and_right_at_the_far_quantiles",
        "test_isotropic_kicks_at_two_are_finite_and_right_at_the_far_quantiles",
        "test_a_billion_float32_draws_are_finite_and_right_at_the_far_quantiles",
        "test_the_textbook_formula_in_float32_fails_the_same_test",
    },
    "of no draws, but of the references and of what tells noises apart": {
        "test_the_reference_law_agrees_with_scipy_where_scipy_is_sound",
        "test_the_reference_tail_agrees_with_its_series",
        "test_the_reference_law_agrees_with_the_inverted_characteristic_function",
        "test_the_reference_positive_law_agrees_with_the_levy_law",
        "test_the_tail_constant_is_the_limit_of_the_exact_tail",
        "test_ties_of_another_radius_law_are_no_noise",
    },
    "of two dtypes, of which the kernels have one": {"test_both_dtypes_make_the_same_draws_of_the_same_bits"},
}
ELSEWHERE = set[str]().union(*SAME.values(), *NOT_ASKED.values())


def laws(source: str) -> set[str]:
    """The tests of a file that take a sampler, or that have to do with `goodness_of_fit`, if by a helper alone."""
    body = ast.parse(source).body
    known = {"sampler"} | {
        alias.name
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module == "goodness_of_fit"
        for alias in node.names
    }
    words = {node.name: named(node) for node in body if isinstance(node, ast.FunctionDef)}
    while new := {name for name, own in words.items() if name not in known and own & known}:
        known |= new
    return {name for name in words if name.startswith("test_") and name in known}


def named(function: ast.FunctionDef) -> set[str]:
    """Names in a function and of what it is given."""
    inside = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    return inside | {argument.arg for argument in function.args.args}


def test_every_law_of_the_cpus_sampler_is_asked_of_the_kernels_too() -> None:
    found = set[str]().union(*(laws(path.read_text(encoding="utf-8")) for path in FILES))
    assert found - ASKED - ELSEWHERE == set()
    assert ELSEWHERE - found == ELSEWHERE & ASKED == set()
    assert SAME.keys() <= ASKED


def test_a_new_law_of_the_cpus_sampler_would_be_seen() -> None:
    new = "def coin(): return is_fair(1, 2)\n\ndef test_one(): assert coin()\n\ndef test_two(sampler): pass\n\n"
    new += "def test_three(): assert goodness()\n"
    assert laws("from goodness_of_fit import is_fair, z_score\n" + new) == {"test_one", "test_two"}
    for path in FILES:
        source = path.read_text(encoding="utf-8")
        assert laws(source + "\n\ndef test_new(): assert is_fair(1, 2)\n") == laws(source) | {"test_new"}
