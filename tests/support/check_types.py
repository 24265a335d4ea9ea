"""A pytest plugin: functions whose types have no shape in them are checked by beartype alone.

jaxtyping's import hook, which pytest is called with, binds the arguments of every call to remember sizes of axes. Where
no argument and no result has a shape there is nothing to remember, and binding took a tenth of the suite's time.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_args

import jaxtyping

with_shapes = jaxtyping.jaxtyped


def has_shape(annotation: object) -> bool:
    """Tell whether a type is, or has within it, an array with a shape."""
    if isinstance(annotation, list):  # the arguments of a Callable
        return any(map(has_shape, annotation))
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(has_shape, get_args(annotation)))


def checked(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Stand in for `jaxtyping.jaxtyped`, which the hook writes above every function and class."""

    def decorate(target: Any) -> Any:
        if inspect.isfunction(target) and not any(map(has_shape, target.__annotations__.values())):
            return typechecker(target)
        return with_shapes(typechecker=typechecker)(target)

    return decorate


jaxtyping.jaxtyped = checked
