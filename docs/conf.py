"""How Sphinx builds the pages: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from modnas_fast import __version__

sys.path.insert(0, str(Path(__file__).parent))

project = "modnas-fast"
author = copyright = "modnas-fast contributors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated"]
html_theme = "furo"
html_title = f"modnas-fast {version}"
html_copy_source = False
smartquotes = False  # "..." is a shape here

# A name in single backquotes is a link where it is documented, and plain code where it is not.
default_role = "py:obj"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3  # as GitHub makes them: solver.md#training

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_use_type_comments = False
autodoc_mock_imports = ["torchjd"]  # whose classes an adapter extends
python_maximum_signature_line_length = 88
