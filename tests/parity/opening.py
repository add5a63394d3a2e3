"""What tests of model files share: the model that a checkpoint describes, its logits, and damage to a file."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from parity.tiny import random_waveform
from sonant.checkpoints import Checkpoint, open_checkpoint
from sonant.errors import CheckpointError
from sonant.model.heads import CtcModel, load_weights


def opened(checkpoint: Checkpoint) -> CtcModel:
    """The model with the checkpoint's weights, in evaluation mode."""
    model = CtcModel(checkpoint.config).eval()
    load_weights(model, checkpoint)
    return model


def logits(model: CtcModel) -> torch.Tensor:
    """Of a clip that is always the same, (1, T, V)."""
    with torch.no_grad():
        return model(torch.from_numpy(random_waveform(6000))[None]).logits


def refused_when_damaged(path: Path, rounds: int) -> int:
    """How often a PyTorch file with random bytes in its pickle is refused; otherwise all its tensors are read."""
    whole = path.read_bytes()
    end = whole.index(b".PK")
    generator, refused = random.Random(0), 0
    for _ in range(rounds):
        damaged = bytearray(whole)
        for _ in range(generator.choice([1, 1, 2, 8])):
            place, size = generator.randrange(end), generator.randrange(1, 4)
            damaged[place : place + size] = generator.randbytes(size)
        path.write_bytes(damaged)
        try:
            checkpoint = open_checkpoint(path)
            for name in checkpoint.tensors:
                checkpoint.tensors[name].sum(dtype=np.float64)
        except CheckpointError:
            refused += 1
    return refused
