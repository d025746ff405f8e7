"""Ticks of axes that count layers."""

from __future__ import annotations

MOST_TICKS = 12


def depth_ticks(n_layers: int) -> list[int]:
    """Returns 0..L, or about twelve of them that always hold 0 and L, for a deep model."""
    step = 1 + n_layers // MOST_TICKS
    inner = [tick for tick in range(0, n_layers, step) if n_layers - tick >= step]
    return [*inner, n_layers] if n_layers else [0]
