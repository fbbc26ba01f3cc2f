"""What lies between the two large products of a step, compiled for the CPU: the loss, and the way back through φ.

The letters are those of `heavytail.lab.engines.two_layer`, for a tile of n neurons, a batch of B samples and c classes.
Arrays are float32 and contiguous along their last axis, and no two overlap. Sums run in an order that the shapes fix,
so equal input gives equal bits. NaN and inf of a run that diverged go through.
"""

from __future__ import annotations

import math

import numpy as np

from heavytail._sampler.jit import compiled

CLASSES = 12  # with more of them torch's products are as fast
_BLOCK = 512  # samples at once: a row of each class stays in the first-level cache
_ZERO, _ONE = np.float32(0), np.float32(1)

_loop = compiled(fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")


@_loop
def gradient(parts, labels, scale, g):  # type: ignore[no-untyped-def]
    """`g = scale * (softmax(z) - labels)`, (c, B), of the logits z, the sum of `parts`, (tiles, c, B).

    labels is int64 (B,). Returns the mean loss, in nats.
    """
    tiles, classes, batch = parts.shape
    g[:, :] = parts[0]
    for tile in range(1, tiles):
        for k in range(classes):
            for b in range(batch):
                g[k, b] += parts[tile, k, b]
    loss = 0.0
    for b in range(batch):
        largest = g[0, b]
        for k in range(1, classes):
            largest = max(largest, g[k, b])
        chosen, total = g[labels[b], b] - largest, _ZERO
        for k in range(classes):
            g[k, b] = math.exp(g[k, b] - largest)
            total += g[k, b]
        loss += math.log(total) - chosen
        for k in range(classes):
            g[k, b] *= scale / total
        g[labels[b], b] -= scale
    return loss / batch


@_loop
def backward(h, out, g, relu, trained, keep):  # type: ignore[no-untyped-def]
    """`h = (out g) ∘ φ'` in place, and if `trained` then `out = keep * out + h gᵀ` with the h of before.

    h is (n, B), what φ (ReLU or else tanh) put out; out is (n, c), g (c, B).
    """
    n, batch = h.shape
    classes = out.shape[1]
    slope, moved = np.empty(_BLOCK, np.float32), np.zeros((n, classes), np.float32)
    for start in range(0, batch, _BLOCK):
        for i in range(n):
            row = h[i, start : start + _BLOCK]
            slope[:] = _ZERO
            for k in range(0, classes, 2):  # two classes a pass; the last of an odd number passes with itself
                pair = min(k + 1, classes - 1)
                first, second = g[k, start : start + _BLOCK], g[pair, start : start + _BLOCK]
                weight, other = out[i, k], out[i, pair] if pair > k else _ZERO
                one, two = _ZERO, _ZERO
                for b in range(len(row)):
                    one += row[b] * first[b]
                    two += row[b] * second[b]
                    slope[b] += weight * first[b] + other * second[b]
                moved[i, pair] += two if pair > k else _ZERO
                moved[i, k] += one
            if relu:
                for b in range(len(row)):
                    row[b] = slope[b] if row[b] > _ZERO else _ZERO
            else:
                for b in range(len(row)):
                    row[b] = slope[b] * (_ONE - row[b] * row[b])
    if trained:
        for i in range(n):
            for k in range(classes):
                out[i, k] = keep * out[i, k] + moved[i, k]
