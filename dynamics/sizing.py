"""Which map is learned, how large, and how it is observed: `auto` decided from the number of observed coordinates.

Used before a job is accepted as well as in training, so that what cannot be is refused at once: no compiled code here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.errors import ErrorItem, InvalidParameters
from domain.specs import TrainSpec
from domain.training_specs import GeneralizedForcingSpec
from models import ARCHITECTURES
from models.base import Architecture, Size

MAX_IDENTITY_COORDINATES = 10  # more observed coordinates than this are read out from a smaller latent space
AFFINE_LATENT_DIM = 16
LAYERS = 2
SPARE_UNITS = 1.6  # latent units per observed coordinate, where the map's nonlinearity acts on the units themselves
# Latent units of those maps, and of the squashed ones, in the published reconstructions of Lorenz-63: Mikhaeil et al. 2022
# (30, an LSTM of 30 + 30), Brenner et al. 2022 (dendritic: 22, with 20 bases), Brenner et al. 2024 (AL-RNN: 20).
PUBLISHED_LATENT_DIM = {
    "plrnn": 30,
    "mean-centered-plrnn": 30,
    "clipped-plrnn": 30,
    "dend-plrnn": 22,
    "clipped-dend-plrnn": 22,
    "al-rnn": 20,
    "vanilla-rnn": 30,
    "lstm": 60,
    "gru": 30,
}
BASES, MAX_LINEAR_PIECES = 20, 10
HIDDEN_STATES_UNITS = 100  # hidden units of a map whose states are seen through a kernel


@dataclass(frozen=True)
class Sizing:
    architecture: str
    observation: str  # identity or affine; a convolutional one is affine in the convolved state
    size: Size
    why: dict[str, str]

    @property
    def map(self) -> type[Architecture]:
        return ARCHITECTURES[self.architecture]

    @property
    def sparse(self) -> bool:
        """Whether `auto` forcing is sparse: the nonlinearity acts on the units themselves, so that M > N_e of them are needed."""
        return self.architecture in PUBLISHED_LATENT_DIM


def matrix_weights(architecture: type[Architecture], size: Size) -> int:
    """Entries of the map's matrices: about 14 operations each, for one step of one sequence, forward and backward."""
    shapes = architecture.shapes(size).values()
    return int(sum(np.prod(shape) for shape in shapes if len(shape) > 1))


def choose(spec: TrainSpec, n_observed: int, at: str = "/params", dimension: int | None = None) -> Sizing:
    """The map for `n_observed` embedded coordinates; `at` is where the specification lies in the request.

    `dimension`: latent units that the data ask for, where they tell; taken for a map that is read out by an affine observation.

    Raises InvalidParameters, with pointers, for what the architecture does not have or cannot be.
    """
    why: dict[str, str] = {}
    name = _architecture(spec, why)
    architecture = ARCHITECTURES[name]
    observation = _observation(spec, architecture, n_observed, why, at)
    latent = _latent_dim(spec, architecture, n_observed, observation, why, at, dimension)
    size = Size(
        latent,
        _hidden_dim(spec, architecture, latent, n_observed, observation, why, at),
        _layers(spec, architecture, why, at),
    )
    problem = architecture.problem(size)
    if problem is not None:
        place = "hidden_dim" if spec.hidden_dim != "auto" else "latent_dim"
        raise _invalid(f"{at}/{place}", f"{problem} Change {place}.")
    _check_forcing(spec, architecture, size, at)
    _check_regularisation(spec, architecture, size, observation, at)
    return Sizing(name, observation, size, why)


def _architecture(spec: TrainSpec, why: dict[str, str]) -> str:
    if spec.architecture != "auto":
        return spec.architecture
    why["architecture"] = "bounded for |A| < 1, so free runs cannot run away; the published default"
    return "clipped-shplrnn"


def _observation(
    spec: TrainSpec, architecture: type[Architecture], n_observed: int, why: dict[str, str], at: str
) -> str:
    kind = spec.observation.kind
    if architecture.squashed and kind == "identity":
        raise _invalid(
            f"{at}/observation",
            f"The units of {architecture.name} stay within (-1, 1), so observed coordinates cannot be latent units; "
            'use observation {"kind": "affine"}.',
        )
    if kind == "convolutional":
        return "affine"  # of the convolved state
    if kind != "auto":
        return kind
    if architecture.squashed:
        why["observation"] = f"the units of {architecture.name} stay within (-1, 1)"
        return "affine"
    if spec.counted_channels:
        why["observation"] = "counts and classes are read out by a generalised linear model"
        return "affine"
    if n_observed > MAX_IDENTITY_COORDINATES:
        why["observation"] = f"{n_observed} observed coordinates are read out from a smaller latent space"
        return "affine"
    if architecture.name in PUBLISHED_LATENT_DIM:
        why["observation"] = "forcing can then set every latent unit; with an identity observation only those observed"
        return "affine"
    why["observation"] = f"{n_observed} observed coordinates are latent units themselves"
    return "identity"


def _latent_dim(
    spec: TrainSpec,
    architecture: type[Architecture],
    n_observed: int,
    observation: str,
    why: dict[str, str],
    at: str,
    dimension: int | None,
) -> int:
    asked = spec.latent_dim
    if asked != "auto":
        if observation == "identity" and asked < n_observed:
            raise _invalid(
                f"{at}/latent_dim",
                f"latent_dim {asked} is less than the {n_observed} observed coordinates (channels times lags), which an "
                'identity observation takes as latent units; raise it or use observation {"kind": "affine"}.',
            )
        return asked
    published = PUBLISHED_LATENT_DIM.get(architecture.name)
    if published is not None:
        spare = int(np.ceil(SPARE_UNITS * n_observed)) if observation == "identity" else 0
        why["latent_dim"] = (
            f"{SPARE_UNITS} units per observed coordinate: the nonlinearity acts on the units themselves"
            if spare > published
            else f"published for {architecture.name} on low-dimensional chaotic systems"
        )
        return max(published, spare)
    if observation == "identity":
        why["latent_dim"] = "one latent unit per observed coordinate"
        return n_observed
    if dimension is not None:
        why["latent_dim"] = "principal directions of what stands for the channels, at least 3 and the Gaussian channels"
        return min(AFFINE_LATENT_DIM, dimension)
    why["latent_dim"] = f"at most {AFFINE_LATENT_DIM} units suffice for {n_observed} correlated coordinates"
    return min(AFFINE_LATENT_DIM, n_observed)


def _hidden_dim(
    spec: TrainSpec,
    architecture: type[Architecture],
    latent: int,
    n_observed: int,
    observation: str,
    why: dict[str, str],
    at: str,
) -> int:
    if architecture.hidden_role is None:
        if spec.hidden_dim != "auto":
            raise _invalid(
                f"{at}/hidden_dim",
                f"{architecture.name} has no hidden_dim; its size is latent_dim: leave hidden_dim away.",
            )
        return 0
    if spec.hidden_dim != "auto":
        return spec.hidden_dim
    if architecture.name == "al-rnn" and observation == "affine":
        why["hidden_dim"] = "half of the units; fewer need the observed coordinates as units"
        return max(1, latent // 2)
    if architecture.name == "al-rnn":
        pieces = min(latent, max(2, min(MAX_LINEAR_PIECES, n_observed - 1)))
        why["hidden_dim"] = (
            f"few {architecture.hidden_role}: 2 to {MAX_LINEAR_PIECES}, growing with the observed coordinates"
        )
        return pieces
    if architecture.name in PUBLISHED_LATENT_DIM:
        why["hidden_dim"] = f"published number of {architecture.hidden_role}"
        return BASES
    if architecture.layered:
        why["hidden_dim"] = f"usual for {latent} latent units in several layers"
        return 50 if latent <= 4 else 100
    if spec.observation.kind == "convolutional":
        why["hidden_dim"] = "enough for series seen through a kernel, which tell little of what is fast"
        return HIDDEN_STATES_UNITS
    why["hidden_dim"] = f"usual for {latent} latent units"
    return {1: 50, 2: 50, 3: 100, 4: 150}.get(latent, 250 if latent <= 10 else 512)


def _layers(spec: TrainSpec, architecture: type[Architecture], why: dict[str, str], at: str) -> int:
    if not architecture.layered:
        if spec.layers != "auto":
            layered = ", ".join(name for name, a in ARCHITECTURES.items() if a.layered)
            detail = (
                f"{architecture.name} has no hidden layers to count; leave layers away, or use architecture {layered}."
            )
            raise _invalid(f"{at}/layers", detail)
        return 0
    if spec.layers != "auto":
        return spec.layers
    why["layers"] = "the fewest with which it is deep"
    return LAYERS


def _check_forcing(spec: TrainSpec, architecture: type[Architecture], size: Size, at: str) -> None:
    forcing = spec.forcing
    if not isinstance(forcing, GeneralizedForcingSpec) or not forcing.adaptive:
        return
    if forcing.estimate == "parameter-bound" and _bound(architecture, size) is None:
        raise _invalid(
            f"{at}/forcing/estimate",
            f"No bound on the Jacobian of {architecture.name} is known from its parameters; use another estimate, such as "
            "arithmetic-mean.",
        )


def _bound(architecture: type[Architecture], size: Size) -> float | None:
    return architecture.jacobian_bound(architecture.init(np.random.default_rng(0), size))


def _check_regularisation(
    spec: TrainSpec, architecture: type[Architecture], size: Size, observation: str, at: str
) -> None:
    wanted = spec.regularization
    for name in ("identity", "manifold_attractor"):
        if (
            getattr(wanted, name) > 0
            and architecture.identity(architecture.init(np.random.default_rng(0), size)) is None
        ):
            raise _invalid(
                f"{at}/regularization/{name}",
                f"No parameters make {architecture.name} the identity map, to which {name} pulls; set it to 0.",
            )
    if wanted.observation_condition > 0 and observation != "affine":
        raise _invalid(
            f"{at}/regularization/observation_condition",
            'An identity observation has no matrix to condition; use observation {"kind": "affine"} or set it to 0.',
        )


def _invalid(pointer: str, detail: str) -> InvalidParameters:
    return InvalidParameters(detail, [ErrorItem(pointer=pointer, detail=detail)])
