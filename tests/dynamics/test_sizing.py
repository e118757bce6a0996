"""What `auto` sizes become for every architecture, and what is refused, with the place in the request."""

from __future__ import annotations

import pytest

from domain.errors import InvalidParameters
from domain.specs import TrainSpec
from dynamics.sizing import choose, matrix_weights
from models import ARCHITECTURES
from models.base import Size


def sized(n_observed: int = 3, **params: object):
    return choose(TrainSpec.model_validate(params), n_observed)


@pytest.mark.parametrize("n_observed", [1, 3, 5, 11, 64])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_auto_gives_a_possible_map_and_its_reasons(name: str, n_observed: int) -> None:
    found = sized(n_observed, architecture=name)
    architecture = ARCHITECTURES[name]
    assert architecture.problem(found.size) is None
    shallow = name in ("shplrnn", "clipped-shplrnn", "deep-plrnn")
    assert found.observation == ("affine" if n_observed > 10 or not shallow else "identity")
    assert found.sparse is not shallow
    assert found.observation == "affine" or found.size.latent >= n_observed
    assert (found.size.hidden > 0) == (architecture.hidden_role is not None)
    assert (found.size.layers > 0) == architecture.layered
    assert {"latent_dim", "observation"} <= set(found.why)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("clipped-shplrnn", Size(3, 100)),
        ("plrnn", Size(30)),
        ("dend-plrnn", Size(22, 20)),
        ("al-rnn", Size(20, 10)),
        ("lstm", Size(60)),
        ("gru", Size(30)),
        ("deep-plrnn", Size(3, 50, 2)),
    ],
)
def test_sizes_for_three_coordinates(name: str, size: Size) -> None:
    assert sized(architecture=name).size == size


def test_observed_coordinates_as_units_leave_few_to_rectify() -> None:
    assert sized(architecture="al-rnn", observation={"kind": "identity"}).size == Size(20, 2)


def test_many_observed_units_leave_spare_ones() -> None:
    found = sized(64, architecture="dend-plrnn", observation={"kind": "identity"})
    assert found.size.latent == 103  # 105 in the published reconstruction of the 64-channel EEG


def test_weights_of_the_shallow_map_are_those_of_its_two_matrices() -> None:
    assert matrix_weights(ARCHITECTURES["clipped-shplrnn"], Size(3, 100)) == 2 * 3 * 100
    assert matrix_weights(ARCHITECTURES["lstm"], Size(60)) == 4 * 30 * 30


REFUSED = [
    ("identity observation of a squashed map", "observation", "(-1, 1)", {"architecture": "gru", "observation": {"kind": "identity"}}),
    ("too few units", "latent_dim", "3 observed coordinates", {"latent_dim": 2}),
    ("hidden units where there are none", "hidden_dim", "has no hidden_dim", {"architecture": "plrnn", "hidden_dim": 20}),
    ("layers where there are none", "layers", "use architecture deep-plrnn", {"architecture": "lstm", "layers": 2}),
    ("an odd LSTM", "latent_dim", "even, not 31", {"architecture": "lstm", "latent_dim": 31}),
    ("more pieces than units", "hidden_dim", "cannot have 30", {"architecture": "al-rnn", "latent_dim": 20, "hidden_dim": 30}),
    (
        "no bound is known", "forcing/estimate", "arithmetic-mean",
        {"architecture": "lstm", "forcing": {"kind": "gtf", "adaptive": True, "estimate": "parameter-bound"}},
    ),
    ("no identity map", "regularization/identity", "identity map", {"architecture": "gru", "regularization": {"identity": 1.0}}),
    ("no slow units", "regularization/manifold_attractor", "identity map", {"architecture": "vanilla-rnn", "regularization": {"manifold_attractor": 1.0}}),
    ("nothing to condition", "regularization/observation_condition", "no matrix", {"regularization": {"observation_condition": 1.0}}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "says", "params"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_cannot_be_is_refused_with_its_place(field: str, says: str, params: dict) -> None:
    with pytest.raises(InvalidParameters) as caught:
        choose(TrainSpec.model_validate(params), 3, "/params/train")
    assert [item.pointer for item in caught.value.errors] == [f"/params/train/{field}"]
    assert says in caught.value.detail


@pytest.mark.parametrize(
    "params",
    [
        {"architecture": "clipped-plrnn", "forcing": {"kind": "gtf", "adaptive": True, "estimate": "parameter-bound"}},
        {"architecture": "vanilla-rnn", "forcing": {"kind": "gtf", "adaptive": True}},
        {"architecture": "al-rnn", "regularization": {"identity": 1.0, "manifold_attractor": 1.0}},
        {"architecture": "lstm", "regularization": {"observation_condition": 1.0}},
        {"architecture": "deep-plrnn", "layers": 4, "hidden_dim": 20},
    ],
)
def test_what_can_be_is_not_refused(params: dict) -> None:
    sized(3, **params)
