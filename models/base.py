"""What every architecture provides: shapes, initial parameters, the step and its Jacobian."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

Params = dict[str, Any]  # name -> numpy array or torch tensor, all of one kind
ARCHITECTURES: dict[str, type[Architecture]] = {}


class Architecture(ABC):
    """A parametrised map of the latent state, z[t] = F(z[t-1]).

    `step` and `jacobian` broadcast over leading axes: z has shape (..., M). `xp` is the array namespace of
    `params` and `z`: `numpy` or `torch`.
    """

    name: ClassVar[str]
    citation: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            ARCHITECTURES[cls.name] = cls

    @staticmethod
    @abstractmethod
    def shapes(latent_dim: int, hidden_dim: int) -> dict[str, tuple[int, ...]]:
        """Parameter shapes, in the order in which they are flattened."""

    @staticmethod
    @abstractmethod
    def init(rng: np.random.Generator, latent_dim: int, hidden_dim: int) -> dict[str, np.ndarray]:
        """Random initial parameters, float64."""

    @staticmethod
    @abstractmethod
    def step(params: Params, z: Any, xp: Any = np) -> Any:
        """F(z): (..., M) -> (..., M)."""

    @staticmethod
    @abstractmethod
    def jacobian(params: Params, z: Any, xp: Any = np) -> Any:
        """dF/dz: (..., M) -> (..., M, M), row i being the gradient of F_i."""

    @classmethod
    def n_parameters(cls, latent_dim: int, hidden_dim: int) -> int:
        return int(sum(np.prod(shape) for shape in cls.shapes(latent_dim, hidden_dim).values()))
