"""What every architecture provides: shapes, initial parameters, the step and its Jacobian."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np

Params = dict[str, Any]  # name -> numpy array or torch tensor, all of one kind
ARCHITECTURES: dict[str, type[Architecture]] = {}


class Size(NamedTuple):
    """How large a map is: M latent units, H hidden units (or bases, or piecewise-linear units), hidden layers."""

    latent: int
    hidden: int = 0  # 0 for architectures that have none
    layers: int = 0  # 0 except for the deep PLRNN


class Layer(NamedTuple):
    """A map of one hidden layer: F(z) = outer [clip(inner [z; 1], lower, upper); z; 1], clip acting unit by unit."""

    inner: np.ndarray  # (H, M + 1)
    outer: np.ndarray  # (M, H + M + 1)
    lower: np.ndarray  # (H,)
    upper: np.ndarray | None = None  # (H,); None: no bound


class Architecture(ABC):
    """A parametrised map of the latent state, z[t] = F(z[t-1]).

    `step` and `jacobian` broadcast over leading axes: z has shape (..., M). `xp` is the array namespace of
    `params` and `z`: `numpy` or `torch`. External inputs are coupled from outside, z[t] = F(z[t-1]) + C s[t].
    """

    name: ClassVar[str]
    citation: ClassVar[str]
    hidden_role: ClassVar[str | None] = None  # what `hidden_dim` counts; None: the architecture has no such size
    layered: ClassVar[bool] = False  # whether it has a number of layers
    contracted: ClassVar[frozenset[str]] = frozenset()  # vectors that enter by a product with a matrix or a vector
    squashed: ClassVar[bool] = (
        False  # whether its units stay within (-1, 1), so that they cannot be observed as they are
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            ARCHITECTURES[cls.name] = cls

    @staticmethod
    @abstractmethod
    def shapes(size: Size) -> dict[str, tuple[int, ...]]:
        """Parameter shapes, in the order in which they are flattened."""

    @staticmethod
    @abstractmethod
    def size(params: Params) -> Size:
        """Inverse of `shapes`."""

    @staticmethod
    @abstractmethod
    def init(rng: np.random.Generator, size: Size) -> dict[str, np.ndarray]:
        """Random initial parameters, float64, for states with a standard deviation of about one."""

    @staticmethod
    @abstractmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        """F(z): (..., M) -> (..., M)."""

    @staticmethod
    @abstractmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """dF/dz: (..., M) -> (..., M, M), row i being the gradient of F_i."""

    @staticmethod
    def problem(size: Size) -> str | None:
        """Why there is no such map of this size, in words for the caller; None when there is."""
        return None

    @staticmethod
    def read_units(latent: int) -> int:
        """Leading units that an affine observation reads and forcing sets; the others are forced to zero."""
        return latent

    @staticmethod
    def identity(params: Params) -> dict[str, float] | None:
        """The value of each parameter at which F(z) = z: what regularisation `towards the identity` pulls to; None: no such values.

        Parameters that the identity leaves open (thresholds) are missing.
        """
        return None

    @staticmethod
    def jacobian_bound(params: Params) -> float | None:
        """A bound on the spectral norm of the Jacobian over all states; None where none is known."""
        return None

    @staticmethod
    def layer(params: Params) -> Layer | None:
        """The same map, of numpy parameters, as one hidden layer; None where it is not worth it."""
        return None

    @classmethod
    def spread(cls, params: Params, n_states: int) -> Params:
        """Numpy parameters with which `step` maps n_states states (n, M) at a time to the same numbers, faster.

        Vectors that act unit by unit are repeated for every state: arrays of one shape are combined several times faster
        than rows are spread over a matrix, at every step anew.
        """
        return {
            name: np.ascontiguousarray(np.broadcast_to(value, (n_states, len(value))))
            if value.ndim == 1 and name not in cls.contracted
            else value
            for name, value in params.items()
        }

    @classmethod
    def n_parameters(cls, size: Size) -> int:
        return int(sum(np.prod(shape) for shape in cls.shapes(size).values()))
