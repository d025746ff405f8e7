"""Sums over kernel matrices [rows, rows] without ever holding one: a slice of rows at a time, all states at once.

Takes one function per state that gives a slice of its kernel matrix; hands on the sums that `hsic` turns into CKA.
A kernel matrix is symmetric, so a slice is taken against the rows from its own start on: half the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

Kernel = Callable[[slice, slice, torch.Tensor], object]
"""Writes the entries [rows, columns] of a state's kernel matrix into the float64 matrix given last."""

_ENTRIES = 2**22
"""Entries of all states' slices together, 32 MiB. Measured: smaller slices waste products, larger ones the cache."""


def linear_kernel(state: torch.Tensor) -> Kernel:
    """Returns the kernel X X' of a centred state [rows, dim]."""
    return lambda rows, columns, out: torch.mm(state[rows], state[columns].T, out=out)


def gram_totals(kernels: Sequence[Kernel], n_rows: int, device: torch.device) -> torch.Tensor:
    """Returns tr KQ of all pairs, diagonals left out: one product of [states, entries] per slice, [states, states]."""
    total = torch.zeros(len(kernels), len(kernels), dtype=torch.float64, device=device)
    for rows, grams in _slices(kernels, n_rows, device):
        # Each pair of rows counts twice (alpha=2), but inside the slice's own square both orders are there already.
        grams[:, :, : rows.stop - rows.start] *= 0.5**0.5
        entries = grams.view(len(kernels), -1)  # [states, entries]
        total.addmm_(entries, entries.T, alpha=2)
    return total


def gram_rows(
    kernels: Sequence[Kernel], n_rows: int, device: torch.device, row_sums: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the sums that each row has a part in, diagonals left out.

    Args:
        kernels: one per state.
        n_rows: rows of the kernel matrices.
        device: where the states lie.
        row_sums: K1 of each state, [states, rows]; without them `crossed` stays 0.

    Returns:
        `products`, sum_j K_a[i, j] K_b[i, j], [rows, states, states]; and `crossed`, sum_j K_a[i, j] (K_b 1)[j], with
        indices [a, i, b].
    """
    n_states = len(kernels)
    products = torch.zeros(n_rows, n_states, n_states, dtype=torch.float64, device=device)
    crossed = torch.zeros(n_states, n_rows, n_states, dtype=torch.float64, device=device)
    for rows, grams in _slices(kernels, n_rows, device):
        beyond = slice(rows.stop, n_rows)
        outside = grams[:, :, rows.stop - rows.start :]  # entries of later rows, which count for those rows too
        by_row = grams.transpose(0, 1)  # [slice, states, columns]
        products[rows] += by_row @ by_row.mT  # [slice, states, states]
        by_column = outside.permute(2, 0, 1).contiguous()  # measured: a fifth less time than products of the view
        products[beyond] += by_column @ by_column.mT
        if row_sums is not None:
            crossed[:, rows] += grams @ row_sums[:, rows.start :].T
            crossed[:, beyond] += outside.mT @ row_sums[:, rows].T
    return products, crossed


def _slices(kernels: Sequence[Kernel], n_rows: int, device: torch.device) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yields slices of rows and, for all states, their entries from the slice's start on, the diagonal set to 0."""
    step = min(n_rows, max(1, _ENTRIES // (len(kernels) * n_rows)))
    # One buffer that every slice uses again, so what is yielded is valid only until the next slice.
    buffer = torch.empty(len(kernels) * step * n_rows, dtype=torch.float64, device=device)
    for start in range(0, n_rows, step):
        rows, columns = slice(start, min(start + step, n_rows)), slice(start, n_rows)
        shape = (len(kernels), rows.stop - start, n_rows - start)
        grams = buffer[: shape[0] * shape[1] * shape[2]].view(shape)  # [states, slice, columns]
        for gram, kernel in zip(grams, kernels, strict=True):
            kernel(rows, columns, gram)
        grams.diagonal(dim1=1, dim2=2).zero_()
        yield rows, grams
