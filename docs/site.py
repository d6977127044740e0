"""Pages as GitHub shows them, made into pages of the site."""

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Name pages by their titles, and leave the words alone of a link that leads to no page and no file of the site.

    A figure and its deviation stay on one line.

    Raises:
        FileNotFoundError: there is nothing where a link leads.
    """
    docs = Path(config.docs_dir)

    def mended(link: re.Match[str]) -> str:
        words, target, heading = link.groups()
        place = ((docs / page.file.src_uri).parent / target).resolve()
        if not place.exists():
            raise FileNotFoundError(f"{page.file.src_uri}: there is no {target}")
        file = files.get_file_from_path(str(place.relative_to(docs))) if place.is_relative_to(docs) else None
        if file is None:
            return words
        title = file.page.title if file.page and words == place.name else words
        return f"[{title}]({target}{heading or ''})"

    return re.sub(r"(?<=\d) ± (?=\d)", "\u00a0±\u00a0", LINK.sub(mended, markdown))
