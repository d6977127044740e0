"""Links that lead out of the documentation, as ``../README.md``, work on GitHub; on the site they become plain text."""

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Leave the words of each link to a folder, or to a file that is not on the site; it has to be there."""
    docs = Path(config.docs_dir)

    def mended(link: re.Match[str]) -> str:
        words, target, _ = link.groups()
        place = (docs / page.file.src_uri).parent / target
        if not place.exists():
            raise FileNotFoundError(f"{page.file.src_uri}: there is no {target}")
        inside = place.is_file() and place.resolve().is_relative_to(docs)
        return link[0] if inside else words

    return LINK.sub(mended, markdown)
