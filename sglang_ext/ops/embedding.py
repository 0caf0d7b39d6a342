"""Rows of a table."""

import torch
from torch import Tensor

from sglang_ext.registry import Op
from sglang_ext.shapes import Index, Operand, Result


def embedding(ids: Tensor, table: Tensor) -> Tensor:
    """ids [t] int64, table [v, h] bf16 -> the rows of the table, [t, h]."""
    return table[ids].clone()


OPS = (
    Op(
        "embedding",
        "y = table[ids]",
        (Operand("ids", (torch.int64,), ("t",)), Operand("table", (torch.bfloat16,), ("v", "h"))),
        embedding,
        (Result("y", torch.bfloat16, ("t", "h")),),
        indices=(Index("ids", "v", "dimension 0 of 'table'"),),
    ),
)
