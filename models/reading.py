"""A model file of unknown origin: everything in it is checked before any of it is used. Nothing is ever unpickled."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
from safetensors import SafetensorError

from models.base import ARCHITECTURES, Architecture, Size
from models.families import Family
from models.filters import Filter
from models.trained import COUNTED_FORMAT, DRIVEN_FORMAT, FAMILY_FORMAT, FILTERED_FORMAT, FORMATS, TrainedModel

MAX_HEADER_BYTES = 1 << 20
MAX_COORDINATES = 4096  # channels times lags, and inputs
MAX_LAG = 100_000
MAX_KERNEL_STEPS = 2_000
MAX_RECORDINGS, MAX_RECORDING_DIM = 10_000, 8
WHOLE = "filter.cut"  # the one tensor of whole numbers
_PRINTABLE = 200  # longest name
_IS = {
    b"PK\x03\x04": "a ZIP archive, as torch.save writes it: its pickles are never loaded",
    b"\x80\x02": "a Python pickle, which is never loaded",
    b"\x80\x03": "a Python pickle, which is never loaded",
    b"\x80\x04": "a Python pickle, which is never loaded",
    b"\x80\x05": "a Python pickle, which is never loaded",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "HDF5",
    b"\x1f\x8b": "compressed",
}


class NotSafetensors(ValueError):
    """The file is of another format."""


class InvalidModel(ValueError):
    """The file is no model of ours, or a damaged one; the message says where and what."""


def read_model(data: bytes) -> TrainedModel:
    """The model in a safetensors file. Raises NotSafetensors and InvalidModel."""
    header = _header(data)
    shapes = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in shapes.items():
        _check_entry(name, entry)
    described = _described(header.get("__metadata__"))
    try:
        model = TrainedModel.from_safetensors(data)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidModel(f"The file cannot be read: {str(error)[:200] or type(error).__name__}.") from error
    _check_tensors(model, shapes)
    _check_map(model, described)
    _check_observation(model)
    _check_nuisance(model, described)
    if model.filter is not None:
        _check_filter(model, model.filter)
    if model.family is not None:
        _check_family(model, model.family)
    if (model.family is not None) != (described["format"] == FAMILY_FORMAT):
        raise InvalidModel(f"Directions of recordings belong to {FAMILY_FORMAT}, and only to it.")
    if (model.filter is not None or model.nuisance is not None) and described["format"] not in (
        FILTERED_FORMAT,
        FAMILY_FORMAT,
    ):
        raise InvalidModel(f"A kernel or nuisance belongs to {FILTERED_FORMAT}.")
    return model


def _header(data: bytes) -> dict[str, Any]:
    what = next((what for magic, what in _IS.items() if data.startswith(magic)), None)
    if what is not None:
        raise NotSafetensors(f"The file is {what}; a safetensors file is needed.")
    size = int.from_bytes(data[:8], "little")
    if len(data) < 10 or data[8:9] != b"{":
        raise NotSafetensors("The file does not begin as a safetensors file does.")
    if size > min(MAX_HEADER_BYTES, len(data) - 8):
        raise InvalidModel(
            f"The header claims {size} bytes; the file has {len(data)}, and a header of a model at most {MAX_HEADER_BYTES}."
        )
    try:
        header = json.loads(data[8 : 8 + size], parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InvalidModel("The header is not JSON.") from error
    if not isinstance(header, dict):
        raise InvalidModel("The header is no JSON object.")
    return header


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _check_entry(name: str, entry: Any) -> None:
    kind = entry.get("dtype") if isinstance(entry, dict) else None
    if kind not in (("I64",) if name == WHOLE else ("F32", "F64")):
        wanted = "I64" if name == WHOLE else "F32 or F64"
        raise InvalidModel(f"The tensor {name[:80]!r} has the type {str(kind)[:20]}: {wanted} is needed.")


def _described(metadata: Any) -> dict[str, Any]:
    """What the header says of the model, its types checked."""
    text = metadata.get("attractor") if isinstance(metadata, dict) else None
    try:
        described = json.loads(text, parse_constant=_no_number) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise InvalidModel("What the header says under `attractor` is not JSON.") from error
    if not isinstance(described, dict):
        raise InvalidModel("The header says nothing under `attractor`: the file was not written by this service.")
    form = described.get("format")
    if form == COUNTED_FORMAT:
        raise InvalidModel("Models with channels of counts or classes cannot be imported yet.")
    if form not in FORMATS:
        raise InvalidModel(f"The format {str(form)[:40]!r} is not known; {', '.join(FORMATS)} are.")
    if described.get("architecture") not in ARCHITECTURES:
        there = ", ".join(sorted(ARCHITECTURES))
        raise InvalidModel(
            f"The architecture {str(described.get('architecture'))[:40]!r} is not known; there are {there}."
        )
    inputs, nuisance = described.get("input_channels", []), described.get("nuisance_channels", [])
    _check_names("channels", described.get("channels"), at_least=1)
    _check_names("input_channels", inputs, at_least=form == DRIVEN_FORMAT)
    _check_names("nuisance_channels", nuisance, at_least=0)
    _check_names("recordings", described.get("recordings", []), at_least=form == FAMILY_FORMAT, most=MAX_RECORDINGS)
    if set(described["channels"]) & set(inputs):
        raise InvalidModel("A channel is observed and an input at once.")
    if set(nuisance) & {*described["channels"], *inputs}:
        raise InvalidModel("A channel is nuisance and something else at once.")
    _check_clock(described)
    return described


def _check_names(what: str, names: Any, at_least: int, most: int = MAX_COORDINATES) -> None:
    if not isinstance(names, list) or not at_least <= len(names) <= most:
        raise InvalidModel(f"{what} must be a list of {int(at_least)} to {most} names.")
    for name in names:
        if not (isinstance(name, str) and 0 < len(name) <= _PRINTABLE and name.isprintable()):
            raise InvalidModel(
                f"{what} holds {str(name)[:40]!r}, which is no printable name of at most {_PRINTABLE} characters."
            )
    if len(set(names)) < len(names):
        raise InvalidModel(f"{what} names a {'recording' if what == 'recordings' else 'channel'} twice.")


def _check_clock(described: dict[str, Any]) -> None:
    lags: Any = described.get("lags")
    dt: Any = described.get("dt")
    unit = described.get("time_unit")
    whole = isinstance(lags, list) and lags and all(type(lag) is int for lag in lags)
    if not whole or lags[0] != 0 or lags[-1] > MAX_LAG or any(b <= a for a, b in pairwise(lags)):
        raise InvalidModel(f"lags must be whole numbers that begin with 0 and ascend to at most {MAX_LAG}.")
    if len(lags) * len(described["channels"]) > MAX_COORDINATES:
        raise InvalidModel(f"More than {MAX_COORDINATES} coordinates (channels times lags) are not accepted.")
    if type(dt) not in (int, float) or not (math.isfinite(dt) and dt > 0):
        raise InvalidModel("dt must be a positive number.")
    if not (isinstance(unit, str) and len(unit) <= 20 and unit.isprintable()):
        raise InvalidModel("time_unit must be printable text of at most 20 characters.")
    if not isinstance(described.get("card"), dict):
        raise InvalidModel("card must be a JSON object.")
    known = described["card"].get("lambda_max")
    if known is not None and (type(known) not in (int, float) or not math.isfinite(known)):
        raise InvalidModel("lambda_max of the card must be a finite number.")


def _check_tensors(model: TrainedModel, there: dict[str, Any]) -> None:
    """Values that are finite, and no tensor that the model does not have."""
    series = {"mean": model.mean, "std": model.std, "residual_std": model.residual_std}
    optional = {"minimum": model.minimum, "maximum": model.maximum, "noise_std": model.noise_std}
    named = {f"map.{k}": v for k, v in model.params.items()} | {
        f"observation.{k}": v for k, v in model.observation.items()
    }
    named |= {f"series.{k}": v for k, v in (series | optional).items() if v is not None}
    if model.inputs is not None:
        of_inputs = {k: getattr(model.inputs, k) for k in ("C", "mean", "std", "minimum", "maximum")}
        named |= {f"inputs.{k}": v for k, v in of_inputs.items() if v is not None}
    named |= _further(model)
    if unknown := sorted(set(there) - set(named)):
        raise InvalidModel(f"The tensor {unknown[0][:80]!r} belongs to no part of such a model.")
    for name, value in named.items():
        if not np.isfinite(value).all():
            raise InvalidModel(f"{name} holds NaN or infinity.")
    n, n_e, inputs = len(model.channels), model.n_observed, model.inputs
    expected = dict.fromkeys(("series.mean", "series.std", "series.minimum", "series.maximum"), (n,))
    expected |= {"series.residual_std": (n_e,), "series.noise_std": (n_e,)}
    if inputs is not None:
        names = ("inputs.mean", "inputs.std", "inputs.minimum", "inputs.maximum")
        expected |= dict.fromkeys(names, (len(inputs.channels),))
    for name, shape in expected.items():
        if name in named:
            _check_shape(name, named[name], shape)
    if (model.std <= 0).any() or (inputs is not None and (inputs.std <= 0).any()):
        raise InvalidModel("Standard deviations of channels must be positive.")
    if (model.residual_std < 0).any() or (model.noise_std is not None and (model.noise_std < 0).any()):
        raise InvalidModel("Standard deviations of errors must not be negative.")


def _further(model: TrainedModel) -> dict[str, np.ndarray]:
    """Tensors of nuisance, filter and family."""
    named: dict[str, np.ndarray] = {}
    if model.nuisance is not None:
        named |= {"nuisance.mean": model.nuisance.mean, "nuisance.std": model.nuisance.std}
    if model.filter is not None:
        parts = ("kernel", "persistence", "signal_to_noise", "noise_std")
        named |= {f"filter.{k}": getattr(model.filter, k) for k in parts} | {WHOLE: np.array(model.filter.cut)}
    if model.family is not None:
        named |= {f"direction.{k}": v for k, v in model.family.directions.items()}
        named["family.vectors"] = model.family.vectors
    return named


def _check_nuisance(model: TrainedModel, described: dict[str, Any]) -> None:
    n_nuisance = len(described.get("nuisance_channels", []))
    if (model.nuisance is not None) != bool(n_nuisance) or ("J" in model.observation) != bool(n_nuisance):
        raise InvalidModel(
            "A model has all of these, names of nuisance channels, their tensors and observation.J, or none."
        )
    if model.nuisance is None:
        return
    for name in ("mean", "std"):
        _check_shape(f"nuisance.{name}", getattr(model.nuisance, name), (n_nuisance,))
    _check_shape("observation.J", model.observation["J"], (model.n_observed, n_nuisance))
    if (model.nuisance.std <= 0).any():
        raise InvalidModel("Standard deviations of channels must be positive.")
    if model.lags != [0]:
        raise InvalidModel("A model with nuisance channels has no delays.")


def _check_filter(model: TrainedModel, filter: Filter) -> None:
    kernel, n = filter.kernel, len(model.channels)
    if kernel.ndim != 1 or not 1 <= len(kernel) <= MAX_KERNEL_STEPS or abs(kernel.sum() - 1) > 1e-6:
        raise InvalidModel(f"filter.kernel must hold 1 to {MAX_KERNEL_STEPS} numbers that add up to 1.")
    for name in ("persistence", "signal_to_noise", "noise_std"):
        _check_shape(f"filter.{name}", getattr(filter, name), (n,))
    if (np.abs(filter.persistence) >= 1).any() or (filter.signal_to_noise <= 0).any() or (filter.noise_std < 0).any():
        raise InvalidModel("filter.persistence must lie within -1 and 1, signal_to_noise above 0, noise_std not below.")
    if len(filter.cut) != 2 or not all(0 <= rows < filter.context_steps for rows in filter.cut):
        raise InvalidModel(f"{WHOLE} must hold two whole numbers from 0 to less than {filter.context_steps}.")
    if model.lags != [0]:
        raise InvalidModel("A model with a kernel has no delays.")


def _check_family(model: TrainedModel, family: Family) -> None:
    if family.vectors.ndim != 2 or not 1 <= family.vectors.shape[1] <= MAX_RECORDING_DIM:
        raise InvalidModel(f"family.vectors must have the shape (recordings, p) with p from 1 to {MAX_RECORDING_DIM}.")
    _check_shape("family.vectors", family.vectors, (len(family.names), family.dim))
    if set(family.directions) != set(model.params):
        raise InvalidModel("There must be one direction.NAME for each map.NAME.")
    for name, direction in family.directions.items():
        _check_shape(f"direction.{name}", direction, (family.dim, *model.params[name].shape))


def _check_shape(name: str, value: np.ndarray, shape: tuple[int, ...]) -> None:
    if value.shape != shape:
        raise InvalidModel(f"{name} has the shape {value.shape}; {shape} is needed.")


def _check_map(model: TrainedModel, described: dict[str, Any]) -> None:
    architecture: type[Architecture] = ARCHITECTURES[model.architecture]
    some = architecture.shapes(Size(2, 1, 1))
    if set(model.params) != set(some):
        raise InvalidModel(
            f"A {model.architecture} has the parameters {', '.join(some)}, not {', '.join(sorted(model.params))[:200]}."
        )
    for name, shape in some.items():
        if model.params[name].ndim != len(shape):
            raise InvalidModel(f"map.{name} has {model.params[name].ndim} axes; {len(shape)} are needed.")
    size = architecture.size(model.params)
    for name, shape in architecture.shapes(size).items():
        _check_shape(f"map.{name}", model.params[name], shape)
    problem = architecture.problem(size)
    if size.latent < 1 or problem:
        raise InvalidModel(problem or "A map needs at least one unit.")
    driven = described.get("input_channels", [])
    if (model.inputs is not None) != bool(driven):
        raise InvalidModel("A model has both, names of inputs and their tensors, or neither.")
    if model.inputs is not None:
        _check_shape("inputs.C", model.inputs.C, (size.latent, len(driven)))


def _check_observation(model: TrainedModel) -> None:
    n_e, m, names = model.n_observed, model.latent_dim, set(model.observation) - {"J"}
    if names == {"B", "b"}:
        _check_shape("observation.B", model.observation["B"], (n_e, model.map.read_units(m)))
        _check_shape("observation.b", model.observation["b"], (n_e,))
        return
    if model.map.squashed:
        raise InvalidModel(f"The units of a {model.architecture} stay within -1 and 1: its observation must be affine.")
    if m < n_e:
        raise InvalidModel(f"{m} units cannot be {n_e} observed coordinates.")
    if names != ({"L0"} if m > n_e else set()):
        raise InvalidModel(
            f"An observation has B and b, or L0 where there are more units than coordinates; this one has {sorted(names)}."
        )
    if m > n_e:
        _check_shape("observation.L0", model.observation["L0"], (m - n_e, n_e))
