"""One method, two clients: `operation` turns a generator into a call that blocks on a `Client` and is awaited on an `AsyncClient`."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from attractor_client._drivers import Asynchronous, Blocking
from attractor_client._protocol import Policy, Steps

P = ParamSpec("P")
R = TypeVar("R")  # what a Client's method answers
A = TypeVar("A")  # what an AsyncClient's method answers


class Sync:
    """Base of what belongs to a Client."""

    _driver: Blocking


class Async:
    """Base of what belongs to an AsyncClient."""

    _driver: Asynchronous


class Operation(Generic[P, R, A]):
    """A method that is written once, as a generator of effects."""

    def __init__(self, function: Callable[Concatenate[Any, P], Steps[Any]]) -> None:
        self._function = function

    @overload
    def __get__(self, instance: Sync, owner: Any = None) -> Callable[P, R]: ...
    @overload
    def __get__(self, instance: Async, owner: Any = None) -> Callable[P, Awaitable[A]]: ...
    @overload
    def __get__(self, instance: None, owner: Any = None) -> Callable[Concatenate[Any, P], Any]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self._function

        @functools.wraps(self._function)
        def method(*args: Any, **kwargs: Any) -> Any:
            return instance._driver.run(self._function(instance, *args, **kwargs))

        return method


class Listing(Generic[P, R, A]):
    """A method that answers an iterator, or an asynchronous one, of the items that its generator yields."""

    def __init__(self, function: Callable[Concatenate[Any, P], Steps[Any]]) -> None:
        self._function = function

    @overload
    def __get__(self, instance: Sync, owner: Any = None) -> Callable[P, Iterator[R]]: ...
    @overload
    def __get__(self, instance: Async, owner: Any = None) -> Callable[P, AsyncIterator[A]]: ...
    @overload
    def __get__(self, instance: None, owner: Any = None) -> Callable[Concatenate[Any, P], Any]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self._function

        @functools.wraps(self._function)
        def method(*args: Any, **kwargs: Any) -> Any:
            return instance._driver.iterate(self._function(instance, *args, **kwargs))

        return method


def operation(function: Callable[Concatenate[Any, P], Steps[R]]) -> Operation[P, R, R]:
    """For results that are the same for both clients."""
    return Operation(function)


class Bound:
    """What has a client behind it."""

    _driver: Any

    @property
    def _policy(self) -> Policy:
        return self._driver.policy
