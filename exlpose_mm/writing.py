"""Files that are there whole or not at all, and tables."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that takes its place if the block succeeds.

    Raises:
        OSError: If the folder is not writable or has no room.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, also if the process is killed.

    Raises:
        OSError: As :func:`replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """Lay out a header and rows as Markdown: the first column to the left, the others to the right."""
    header, *rows = cells
    rule = ['---', *['---:'] * (len(header) - 1)]
    return '\n'.join(f'| {" | ".join(row)} |' for row in [header, rule, *rows])
