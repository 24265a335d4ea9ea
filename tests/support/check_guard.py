"""A pytest plugin: a test that passes without having checked anything fails.

What a test checks is counted while it runs, because a loop over nothing has assertions that never happen: every
`assert` in the folder of the tests, and the calls of `COUNTED`. The setting `enable_assertion_pass_hook` makes pytest
ask before each assertion that passes whether anybody wants to hear of it; here that question is counted, and answered
with no.
"""

import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy.testing
import pytest
import torch
from _pytest.assertion import rewrite

COUNTED = (
    (torch.testing, "assert_close"),
    (torch.autograd, "gradcheck"),
    (torch.autograd, "gradgradcheck"),
    *((numpy.testing, name) for name in ("assert_allclose", "assert_array_equal", "assert_equal", "assert_array_less")),
    (pytest, "raises"),
    (pytest, "warns"),
)


class Checks:
    """How many things were checked since a test began."""

    count = 0


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Count the calls of a function."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        Checks.count += 1
        return function(*args, **kwargs)

    return wrapper


def note_assertion() -> bool:
    """Count an assertion that passes; those of installed plugins, which pytest rewrites as well, are none of ours."""
    Checks.count += "site-packages" not in sys._getframe(1).f_code.co_filename
    return False


def pytest_configure() -> None:
    """Put the counters in place."""
    for place, name in COUNTED:
        setattr(place, name, counted(getattr(place, name)))
    rewrite._check_if_assertion_pass_impl = note_assertion


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Fail a test that has checked nothing."""
    Checks.count = 0
    result = yield
    if Checks.count == 0:
        pytest.fail("this test passed without having checked anything", pytrace=False)
    return result
