"""Every public name exists where the package says."""

from __future__ import annotations

import pytest

import layerprobe


@pytest.mark.parametrize("name", layerprobe.__all__)
def test_public_name_is_importable(name: str) -> None:
    assert getattr(layerprobe, name) is not None
    assert name in dir(layerprobe)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = layerprobe.no_such_name
