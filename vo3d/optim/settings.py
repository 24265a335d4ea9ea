"""What the settings of optimisers may be, and the one line that says what they may not."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from vo3d.errors import Vo3dError


def check_settings(owner: str, settings: Mapping[str, Any]) -> None:
    """Check those of `settings` whose names all optimisers share: rates, decays of averages, eps.

    Raises Vo3dError for a rate, a weight decay or an eps below zero, and for a decay outside of [0, 1): at 1 old
    gradients never die out.
    """
    for name in ("lr", "weight_decay", "eps", "eta", "gamma", "look_ahead"):
        if name in settings and not (math.isfinite(settings[name]) and settings[name] >= 0):
            raise Vo3dError(f"{owner}: {name} is {settings[name]}: expected a number of at least 0")
    names = ("momentum", "rho", "alpha", "beta", "past_steps")
    decays = {name: settings[name] for name in names if settings.get(name) is not None}
    if "betas" in settings:
        if len(settings["betas"]) != 2:
            raise Vo3dError(f"{owner}: betas are {settings['betas']}: expected two numbers")
        decays |= {f"betas[{place}]": value for place, value in enumerate(settings["betas"])}
    for name, value in decays.items():
        if not 0 <= value < 1:
            raise Vo3dError(
                f"{owner}: {name} is {value}: expected at least 0 and less than 1, where old gradients never die out"
            )


class Checked(Optimizer):
    """Checks the settings of every parameter group, and that parameters are real; copies and pickles are whole."""

    def __getstate__(self) -> dict[str, Any]:
        """What a copy holds; torch's own has the groups and the state alone, and would forget what else steps them."""
        return {name: value for name, value in vars(self).items() if name != "step" and not name.startswith("_")}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; raises Vo3dError for settings that cannot be, and for complex parameters."""
        check_settings(type(self).__name__, {**self.defaults, **param_group})
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            if torch.is_complex(parameter):
                raise Vo3dError(
                    f"{type(self).__name__}: a parameter is {parameter.dtype}: expected real ones; optimise "
                    "torch.view_as_real of it"
                )
