"""The random weights with which training from nothing begins."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from sonant.model.convolutions import GroupedConv
from sonant.model.encoder import Encoder
from sonant.model.pretrain import ClusterModel, Quantizer

_PLAIN = ("projection", "project_hid", "project_q", "final_proj")
"""Linear layers that start as PyTorch would have them; the transformer's start as BERT's."""


@torch.no_grad()
def draw_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Give a model on the CPU the random weights that wav2vec 2.0's authors start with; norms stay as they are built.

    PyTorch's own would let the output of seven convolutions fade to where the projection's norm cannot mend it.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            plain = name.rpartition(".")[2] in _PLAIN
            spread = module.in_features**-0.5
            for part in (module.weight, module.bias):
                part.uniform_(-spread, spread, generator=generator) if plain else part.zero_()
            if not plain:
                module.weight.normal_(0, 0.02, generator=generator)
        elif isinstance(module, nn.Conv1d):
            inputs = module.kernel_size[0] * module.in_channels
            positional = isinstance(module, GroupedConv)
            spread = 2 * inputs**-0.5 if positional else (2 / inputs) ** 0.5
            weight = torch.empty_like(module.weight).normal_(0, spread, generator=generator)
            if is_parametrized(module):
                module.weight = weight  # the weight norm takes it apart
            else:
                module.weight.copy_(weight)
            if module.bias is not None:
                edge = 0.0 if positional else inputs**-0.5
                module.bias.uniform_(-edge, edge, generator=generator)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(generator=generator)
        elif isinstance(module, Encoder):
            module.masked_spec_embed.uniform_(generator=generator)
        elif isinstance(module, ClusterModel):
            module.label_embs_concat.uniform_(generator=generator)
    for module in model.modules():
        if isinstance(module, Quantizer):  # after its projection, a linear layer, was drawn
            module.weight_proj.weight.normal_(generator=generator)
            module.codevectors.uniform_(generator=generator)
