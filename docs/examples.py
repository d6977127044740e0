"""The examples that end docstrings, which pydocstyle wants without a heading, get the one that the site looks for."""

import textwrap
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Put ``Examples:`` above the first ``>>>`` of a docstring, and indent what follows."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a module, class or function that was read."""
        if obj.docstring and "\n>>> " in obj.docstring.value:
            text, _, example = obj.docstring.value.partition("\n>>> ")
            obj.docstring.value = f"{text}\nExamples:\n{textwrap.indent('>>> ' + example, '    ')}"
