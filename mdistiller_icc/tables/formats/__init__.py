"""One module per format, each with a ``write(report) -> str``."""
