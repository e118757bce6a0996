"""`attractor demo`: the main job of the service, over real HTTP, from a series to a picture."""

from cli.demo.command import demo

__all__ = ["demo"]
