"""Optional dependencies: one helpful sentence instead of a bare ImportError."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, *, extra: str) -> ModuleType:
    """Import ``module`` or say which extra of this package brings it.

    Raises:
        ModuleNotFoundError: ``module`` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{module!r} is needed here and is not installed; "
            f"run: pip install 'pqrnn-native[{extra}]'",
            name=error.name,
        ) from None
