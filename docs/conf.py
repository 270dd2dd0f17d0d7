"""Sphinx configuration."""

from __future__ import annotations

import pqrnn_native

project = "pqrnn-native"
author = "The pqrnn-native developers"
copyright = author
version = release = pqrnn_native.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pqrnn-native {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# The documentation builds without torch.
autodoc_mock_imports = ["sentence_transformers", "sklearn", "torch"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # fields of a NamedTuple would be described twice

# Resolved where the network allows it; a build without it is not an error.
intersphinx_mapping: dict[str, tuple[str, None]] = {}
