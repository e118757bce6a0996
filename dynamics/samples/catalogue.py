"""The samples. Where no exponent is published for just these parameters it was computed from the equations themselves, by
tangent vectors and QR (Benettin et al. 1980) over 10^6 steps and more; `tests/dynamics/test_samples.py` does so again."""

from __future__ import annotations

import math

from dynamics.samples.system import Known, Sample, State

SPROTT = "Sprott, Chaos and Time-Series Analysis (2003)"
COMPUTED = "computed from the equations (Benettin et al. 1980)"
F = 8.0  # the forcing of Lorenz-96


def _lorenz63(u: State, t: float) -> State:
    x, y, z = u
    return 10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z


def _roessler(u: State, t: float) -> State:
    x, y, z = u
    return -y - z, x + 0.2 * y, 0.2 + z * (x - 5.7)


def _lorenz96(u: State, t: float) -> State:
    a, b, c, d, e, f, g, h = u
    return (
        (b - g) * h - a + F,
        (c - h) * a - b + F,
        (d - a) * b - c + F,
        (e - b) * c - d + F,
        (f - c) * d - e + F,
        (g - d) * e - f + F,
        (h - e) * f - g + F,
        (a - f) * g - h + F,
    )


def _henon(u: State, t: float) -> State:
    x, y = u
    return 1.0 - 1.4 * x * x + y, 0.3 * x


def _mackey_glass(u: State, t: float) -> State:
    x, then = u
    square = then * then
    fourth = square * square
    return (0.2 * then / (1.0 + fourth * fourth * square) - 0.1 * x,)


def _phase(t: float) -> State:
    return math.cos(t), math.sin(t)


def _duffing(u: State, t: float) -> State:
    x, v = u
    return v, x - x * x * x - 0.25 * v + 0.4 * math.cos(t)


def _van_der_pol(u: State, t: float) -> State:
    x, v = u
    return v, (1.0 - x * x) * v - x


_ALL = (
    Sample(
        name="lorenz63",
        title="Lorenz-63",
        kind="flow",
        channels=("x", "y", "z"),
        dt=0.01,
        time_unit="s",
        equations=("x' = sigma (y - x)", "y' = x (rho - z) - y", "z' = x y - beta z"),
        parameters={"sigma": 10.0, "rho": 28.0, "beta": 8.0 / 3.0},
        rule=_lorenz63,
        start=(1.0, 1.0, 20.0),
        transient=2001,
        known=Known((0.9056, 0.0, -14.5723), f"{SPROTT}, table A.5", 2.0621),
        expect="Chaotic: two lobes, visited in no order.",
        citation="E. N. Lorenz, Deterministic nonperiodic flow, J. Atmos. Sci. 20, 130-141 (1963).",
    ),
    Sample(
        name="roessler",
        title="Rössler",
        kind="flow",
        channels=("x", "y", "z"),
        dt=0.1,
        time_unit="s",
        equations=("x' = -y - z", "y' = x + a y", "z' = b + z (x - c)"),
        parameters={"a": 0.2, "b": 0.2, "c": 5.7},
        rule=_roessler,
        start=(1.0, 1.0, 0.0),
        transient=2000,
        substeps=5,
        known=Known((0.0714, 0.0, -5.3943), f"{SPROTT}, table A.5", 2.0132),
        expect="Chaotic, weakly: one band that is folded once a turn.",
        citation="O. E. Rössler, An equation for continuous chaos, Phys. Lett. A 57, 397-398 (1976).",
        noise=0.02,
    ),
    Sample(
        name="lorenz96",
        title="Lorenz-96, eight sites",
        kind="flow",
        channels=tuple(f"x{i}" for i in range(8)),
        dt=0.02,
        time_unit="s",
        equations=("x_i' = (x_(i+1) - x_(i-2)) x_(i-1) - x_i + F, i = 0..7, indices modulo 8",),
        parameters={"F": F, "N": 8.0},
        rule=_lorenz96,
        start=(8.01, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0),
        transient=5000,
        known=Known((1.60, 0.38, 0.0, -0.45, -0.95, -1.51, -2.45, -4.62), COMPUTED, 5.38),
        expect="Chaotic in eight dimensions, with two positive exponents.",
        citation="E. N. Lorenz, Predictability: a problem partly solved, ECMWF Seminar on Predictability I, 1-18 (1996).",
        noise=0.02,
    ),
    Sample(
        name="henon",
        title="Hénon map",
        kind="map",
        channels=("x", "y"),
        dt=1.0,
        time_unit="step",
        equations=("x[t+1] = 1 - a x[t]^2 + y[t]", "y[t+1] = b x[t]"),
        parameters={"a": 1.4, "b": 0.3},
        rule=_henon,
        start=(0.1, 0.1),
        transient=1000,
        known=Known((0.41922, -1.62319), f"{SPROTT}, table A.3", 1.2583),
        expect="Chaotic, in steps instead of time; the sum of both exponents is ln 0.3 exactly.",
        citation="M. Hénon, A two-dimensional mapping with a strange attractor, Commun. Math. Phys. 50, 69-77 (1976).",
        steps=5000,
        noise=0.01,
    ),
    Sample(
        name="mackey-glass",
        title="Mackey-Glass",
        kind="dde",
        channels=("x",),
        dt=1.0,
        time_unit="d",
        equations=("x' = beta x(t - tau) / (1 + x(t - tau)^n) - gamma x",),
        parameters={"beta": 0.2, "gamma": 0.1, "n": 10.0, "tau": 17.0},
        rule=_mackey_glass,
        start=(1.2,),
        transient=2000,
        substeps=10,
        delay=17.0,
        known=Known((0.0052, 0.0), COMPUTED),
        expect="Chaotic, very weakly, with a memory of 17 days in a single channel: it is embedded in delays.",
        citation="M. C. Mackey and L. Glass, Oscillation and chaos in physiological control systems, Science 197, 287-289 (1977).",
        noise=0.01,
    ),
    Sample(
        name="duffing",
        title="Duffing oscillator, driven",
        kind="flow",
        channels=("x", "v", "cos", "sin"),
        dt=0.1,
        time_unit="s",
        equations=("x' = v", "v' = x - x^3 - delta v + A cos(omega t)"),
        parameters={"delta": 0.25, "A": 0.4, "omega": 1.0},
        rule=_duffing,
        start=(0.5, 0.0),
        transient=1000,
        substeps=4,
        drive=_phase,
        known=Known((0.158, 0.0, -0.408), COMPUTED, 2.387),
        expect="Chaotic: hops between two wells. The phase of the drive comes as two channels, learned with the others or, in input_channels, known.",
        citation="P. Holmes, A nonlinear oscillator with a strange attractor, Phil. Trans. R. Soc. A 292, 419-448 (1979).",
        noise=0.02,
    ),
    Sample(
        name="van-der-pol",
        title="Van der Pol oscillator",
        kind="flow",
        channels=("x", "v"),
        dt=0.1,
        time_unit="s",
        equations=("x' = v", "v' = mu (1 - x^2) v - x"),
        parameters={"mu": 1.0},
        rule=_van_der_pol,
        start=(2.0, 0.0),
        transient=1000,
        substeps=4,
        known=Known((0.0, -1.0594), "0 exactly, of any limit cycle; the other " + COMPUTED, 1.0),
        expect="Periodic: a limit cycle of period 6.6633 s, without a horizon of predictability.",
        citation="B. van der Pol, On relaxation-oscillations, Phil. Mag. 2, 978-992 (1926).",
        steps=5000,
        noise=0.02,
    ),
)
SAMPLES = {sample.name: sample for sample in _ALL}
