"""Parts of what may be asked of training: observation, forcing, learning rate, regularisation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from domain.base import Spec

Auto = Literal["auto"]
ArchitectureName = Literal[
    "plrnn",
    "mean-centered-plrnn",
    "clipped-plrnn",
    "dend-plrnn",
    "clipped-dend-plrnn",
    "shplrnn",
    "clipped-shplrnn",
    "al-rnn",
    "deep-plrnn",
    "vanilla-rnn",
    "lstm",
    "gru",
]


MAX_KERNEL_STEPS = 2_000
Distribution = Literal["gaussian", "poisson", "ordinal", "categorical"]


class IdentityObservationSpec(Spec):
    """x = first N latent units."""

    kind: Literal["identity"] = "identity"


class AffineObservationSpec(Spec):
    """x = B z + b, with B learned."""

    kind: Literal["affine"] = "affine"


class HaemodynamicKernelSpec(Spec):
    """The canonical haemodynamic response of SPM: a gamma density that peaks, less a sixth of one that undershoots."""

    kind: Literal["haemodynamic"] = "haemodynamic"
    repetition_time: Auto | Annotated[float, Field(gt=0, le=32)] = Field(
        default="auto", description="Seconds between two rows. `auto`: the series' dt, where its time unit is known."
    )


class ExponentialKernelSpec(Spec):
    """exp(-t / decay_time), as of a calcium indicator or a slow sensor; five decay times long."""

    kind: Literal["exponential"] = "exponential"
    decay_time: float = Field(gt=0, description="In the series' time unit.")


class GivenKernelSpec(Spec):
    """A kernel of the caller's: what an impulse shows in the row of the impulse, the next one, and so on."""

    kind: Literal["given"] = "given"
    values: Annotated[list[float], Field(min_length=1, max_length=MAX_KERNEL_STEPS)] = Field(
        description="One number for each step; they are divided by their sum, since B holds the scale."
    )


KernelSpec = Annotated[HaemodynamicKernelSpec | ExponentialKernelSpec | GivenKernelSpec, Field(discriminator="kind")]


class ConvolutionalObservationSpec(Spec):
    """x_t = B (h * z)_t + b with a known kernel h and B learned: states seen through a filter (Volkmann et al. 2024)."""

    kind: Literal["convolutional"] = "convolutional"
    kernel: KernelSpec = Field(default=HaemodynamicKernelSpec(), description="The filter h.")
    noise: Auto | Annotated[float, Field(gt=0, le=1.0)] = Field(
        default="auto",
        description="Std of the noise that the Wiener deconvolution reckons with, in standard deviations of each channel. `auto`: what "
        "the series holds at the frequencies that the kernel lets through least, at least 0.005.",
    )
    loss: Auto | Literal["states", "observations"] = Field(
        default="auto",
        description="Where training takes its loss: of `observations`, that is after the kernel (Volkmann et al. 2024), or of `states`, "
        "that is before it, against the deconvolved series. `auto`: states, but observations where nuisance is to be separated.",
    )


class AutoObservationSpec(Spec):
    """Identity for the shallow and deep PLRNN with at most 10 observed coordinates, affine otherwise."""

    kind: Literal["auto"] = "auto"


ObservationSpec = Annotated[
    AutoObservationSpec | IdentityObservationSpec | AffineObservationSpec | ConvolutionalObservationSpec,
    Field(discriminator="kind"),
]


class SparseForcingSpec(Spec):
    """Sparse teacher forcing: the state is replaced by the data every `interval_steps` (Mikhaeil et al. 2022)."""

    kind: Literal["stf"] = "stf"
    interval_steps: Auto | Annotated[int, Field(ge=1, le=100_000)] = Field(
        default="auto",
        description="`auto` is ln 2 / (lambda_max dt), the predictability time in steps; without a positive lambda_max 1.5 times the "
        "steps after which the autocorrelation is 1/e, 2 to 50.",
    )
    spread_steps: float = Field(
        default=0.0,
        ge=0,
        le=100_000,
        description="Std in steps of a normal distribution from which each interval is drawn anew; 0: all are equal.",
    )
    final_interval_steps: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="The interval changes geometrically from `interval_steps` to this during the updates; default: it stays.",
    )


class GeneralizedForcingSpec(Spec):
    """Generalised teacher forcing: z <- (1 - alpha) z + alpha z_data before every step (Hess et al. 2023)."""

    kind: Literal["gtf"] = "gtf"
    alpha: Auto | Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default="auto", description="Strength of the forcing."
    )
    adaptive: bool = Field(
        default=False,
        description="Re-estimate alpha during training from the Jacobian products (Hess et al. 2023, aGTF).",
    )
    estimate: Literal["arithmetic-mean", "geometric-mean", "largest-norm", "parameter-bound"] = Field(
        default="arithmetic-mean",
        description="How adaptive forcing estimates the norm of a Jacobian: norm of the mean, geometric mean of the norms, "
        "largest norm along a sequence, or a bound from the parameters (not known for every architecture).",
    )
    final_alpha: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None,
        description="alpha changes geometrically from `alpha` to this during the updates; default: it stays.",
    )

    @model_validator(mode="after")
    def _check(self) -> GeneralizedForcingSpec:
        if self.final_alpha is not None and self.adaptive:
            raise ValueError(
                "final_alpha and adaptive exclude each other: leave final_alpha away or set adaptive to false"
            )
        if self.final_alpha is not None and self.alpha == 0:
            raise ValueError("final_alpha needs an alpha above 0, since the change between them is geometric")
        return self


class NoForcingSpec(Spec):
    """Plain back-propagation through time, for comparison: its gradients explode on chaotic data."""

    kind: Literal["none"] = "none"


ForcingSpec = Annotated[SparseForcingSpec | GeneralizedForcingSpec | NoForcingSpec, Field(discriminator="kind")]


class LearningRateSpec(Spec):
    """The learning rate during the updates."""

    peak: Annotated[float, Field(gt=0, le=1.0)] | Auto = Field(
        default="auto", description="Largest rate; `auto`: by architecture, size, optimizer and schedule."
    )
    final: float = Field(default=1e-6, gt=0, le=1.0, description="Rate of the last update.")
    schedule: Literal["one-cycle", "exponential", "constant"] = Field(
        default="one-cycle",
        description="`one-cycle` rises linearly over a tenth of the updates and falls as a cosine; `exponential` falls from peak to final.",
    )


class RegularizationSpec(Spec):
    """What keeps the parameters, or the data, in order."""

    l2: float = Field(
        default=0.0, ge=0, description="Weight decay on all parameters (decoupled from the gradient with adamw)."
    )
    noise: Auto | Annotated[float, Field(ge=0, le=1.0)] = Field(
        default="auto",
        description="Std of Gaussian noise added to the teacher signal (standardised units). `auto`: 0.3 for shallow PLRNNs "
        "whose loss is of states that a kernel hides, else 0.",
    )
    smoothing: Auto | Literal["off"] | Annotated[int, Field(ge=5, le=999)] = Field(
        default="auto",
        description="Rows (odd) of the local cubic fits that replace the training rows. `auto`: by cross-validation for each "
        "channel, and none unless the channel shows white noise on a smooth signal. Validation, test rows and report stay as they are.",
    )
    identity: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the squared distance of the latent parameters from those of the identity map; not for "
        "architectures that have no such parameters.",
    )
    manifold_attractor: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the same for the last latent units only (A to 1, W and h to 0): slow directions for long "
        "memory (Schmidt et al. 2021).",
    )
    manifold_attractor_fraction: float = Field(
        default=0.5, gt=0, le=1.0, description="Share of the latent units that `manifold_attractor` acts on."
    )
    observation_condition: float = Field(
        default=0.0,
        ge=0,
        description="Weight of (||B||_F ||B^+||_F / R)^2 - 1, which is 0 when all singular values of the affine observation B "
        "agree (R: rank of B); affine observation only.",
    )

    @model_validator(mode="after")
    def _check(self) -> RegularizationSpec:
        if isinstance(self.smoothing, int) and self.smoothing % 2 == 0:
            raise ValueError("smoothing must be an odd number of rows")
        return self
