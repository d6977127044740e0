"""Split the columns of a wide table over several tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mdistiller_icc.tables.sheets import Head


def chunks(heads: Sequence[Head], widths: Sequence[int], room: int | None) -> Iterator[list[int]]:
    """The indices of each table's columns: as many as fit, at least one; ours and published stay together.

    Args:
        heads: the columns of values.
        widths: how much room each of them takes.
        room: how much there is; None for any amount.
    """
    units: list[list[int]] = []
    for i, head in enumerate(heads):
        if units and heads[units[-1][-1]].column == head.column:
            units[-1].append(i)
        else:
            units.append([i])
    chunk: list[int] = []
    for unit in units:
        if chunk and room is not None and sum(widths[i] for i in chunk + unit) > room:
            yield chunk
            chunk = []
        chunk = chunk + unit
    yield chunk
