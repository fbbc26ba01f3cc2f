"""Attention with fewer heads than its width says: torch's own has as many numbers in each as make the width."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function

NAME = "multi_head_attention_forward"  # of torch's function, and of ours


class FewerHeads(nn.MultiheadAttention):
    """An attention that has lost heads: its projections have `num_heads * head_dim` rows, its width is `embed_dim`."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch's, without the weights of the heads."""
        if need_weights:
            raise ValueError("this attention has lost heads, so it has no weights of them all: pass need_weights=False")
        if query.is_nested:  # sequences of several lengths, as torch's encoder makes them of a mask
            lengths = torch.tensor([len(one) for one in query.unbind()], device=query.device)
            wide = query.to_padded_tensor(0.0)
            within = torch.arange(wide.shape[1], device=query.device) < lengths[:, None]
            said, _ = self.forward(wide, wide, wide, ~within, False)
            return torch._nested_tensor_from_mask(said, within, mask_check=False), None
        single = query.ndim == 2
        if single:
            query, key, value = (one.unsqueeze(1) for one in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif self.batch_first:
            query, key, value = (one.transpose(0, 1) for one in (query, key, value))
        said, _ = multi_head_attention_forward(
            query=query,
            key=key,
            value=value,
            embed_dim_to_check=self.embed_dim,
            num_heads=self.num_heads,
            in_proj_weight=self.in_proj_weight,
            in_proj_bias=self.in_proj_bias,
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=self.dropout,
            out_proj_weight=self.out_proj.weight,
            out_proj_bias=self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=False,
            attn_mask=attn_mask,
            use_separate_proj_weight=self.in_proj_weight is None,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
        )
        if single:
            return said.squeeze(1), None
        return (said.transpose(0, 1) if self.batch_first else said), None


KINDS = (nn.MultiheadAttention, FewerHeads)  # whose heads can go: a class of somebody else's may do anything with them


def lose(attention: Any) -> None:
    """Make of an attention whose projections have become smaller one of fewer heads."""
    left = attention.out_proj.weight.shape[1]
    if left != attention.num_heads * attention.head_dim:
        attention.num_heads = left // attention.head_dim
        attention._qkv_same_embed_dim = False  # else an encoder layer takes the weights past the attention
        attention.__class__ = FewerHeads


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
) -> tuple[Tensor, None]:
    """As torch's of that name, (length, batch, width), whatever size projections have; one function for modes."""
    weights = (in_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias, out_proj_weight)
    given = tuple(one for one in (query, key, value, *weights, out_proj_bias) if one is not None)
    if has_torch_function(given):
        seen: Any = handle_torch_function(
            multi_head_attention_forward,
            given,
            *(query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v),
            *(add_zero_attn, dropout_p, out_proj_weight, out_proj_bias),
            training=training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=use_separate_proj_weight,
            q_proj_weight=q_proj_weight,
            k_proj_weight=k_proj_weight,
            v_proj_weight=v_proj_weight,
        )
        return seen
    mask = _mask(attn_mask, key_padding_mask, query)
    parts: Any = (q_proj_weight, k_proj_weight, v_proj_weight) if in_proj_weight is None else in_proj_weight.chunk(3)
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    query, key, value = (
        F.linear(one.transpose(0, 1), part, bias).unflatten(-1, (num_heads, -1)).transpose(1, 2)
        for one, part, bias in zip((query, key, value), parts, biases, strict=True)
    )
    said = F.scaled_dot_product_attention(query, key, value, mask, dropout_p if training else 0.0)
    return F.linear(said.transpose(1, 2).flatten(2).transpose(0, 1), out_proj_weight, out_proj_bias), None


def _mask(attn_mask: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
    """Both masks as one of numbers to add, (batch or 1, heads or 1, length, keys)."""
    found: Tensor | None = None
    for mask in (attn_mask, None if padding is None else padding[:, None, None]):
        if mask is not None:
            adds = torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -torch.inf) if _marks(mask) else mask
            if mask is attn_mask and mask.ndim == 3:
                adds = adds.unflatten(0, (like.shape[1], -1))
            found = adds if found is None else found + adds
    return found


def _marks(mask: Tensor) -> bool:
    return mask.dtype == torch.bool


def arguments(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call of torch's function, or of ours, by name."""
    bound = inspect.signature(func).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments
