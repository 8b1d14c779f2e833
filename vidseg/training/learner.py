"""One change of parameters by their gradients, and what a checkpoint needs of it; for all that trains here.

`vidseg train` puts clips, losses, averages and a folder around it; compressions that learn put the calls of a
part around it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from vidseg.training.muon import MOMENT, Muon


class Learner:
    """Parameters under training, with their optimisers.

    Args:
        parameters: by name; each belongs to one of the optimisers.
        clip_norm: gradients that are longer than this, all together, are made as long.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        optimisers: Sequence[torch.optim.Optimizer],
        clip_norm: float = math.inf,
    ) -> None:
        self.parameters = dict(parameters)
        self.optimisers = list(optimisers)
        self._clip_norm = clip_norm

    def step(self, lr: float | None = None) -> float:
        """Change the parameters by their gradients, unless these are not finite, and drop the gradients.

        Args:
            lr: for all parameters, from now on; None: the optimisers keep theirs.

        Returns:
            The norm of all gradients together, before it is clipped. Where it is not finite, nothing changed.
        """
        norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), self._clip_norm))
        if math.isfinite(norm):
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = group["lr"] if lr is None else lr
                optimiser.step()
        for parameter in self.parameters.values():
            parameter.grad = None
        return norm

    def moments(self) -> dict[str, Tensor]:
        """The moments and counters of the optimisers, named 'parameter/moment'."""
        return {
            f"{name}/{moment}": value
            for name, parameter in self.parameters.items()
            for optimiser in self.optimisers
            for moment, value in optimiser.state.get(parameter, {}).items()
        }

    def load(self, moments: Mapping[str, Tensor], fresh: Collection[str] = ()) -> None:
        """Take over the moments of a checkpoint.

        Args:
            fresh: names of parameters that begin anew; so do those of which the checkpoint has none, or those
                of another optimiser.
        """
        owners = {p: o for o in self.optimisers for group in o.param_groups for p in group["params"]}
        for key, value in moments.items():
            name, moment = key.rsplit("/", 1)
            if name not in self.parameters or name in fresh:
                continue
            parameter = self.parameters[name]
            optimiser = owners[parameter]
            if isinstance(optimiser, Muon) != (moment == MOMENT):
                continue  # the run was begun with another optimiser
            # AdamW's fused form walks memory in the parameter's layout; a moment stored in another one
            # (channels first, say) would be applied to the wrong weight.
            like = parameter if value.shape == parameter.shape else value
            here = torch.empty_like(like, device=parameter.device)
            optimiser.state[parameter][moment] = here.copy_(value)
