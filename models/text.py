"""The text that stands in where a user gives none: the help topics that every Python carries."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lutscape.hw.errors import UserError


def default_text() -> str:
    """Return the help topics of ``pydoc_data``, joined in the order of the module.

    About 700 kB of English prose and grammar on Python; its wording changes with the version of
    Python, so results name its hash.
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        UserError: missing, empty, or not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"text file {str(path)!r} not found") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not text:
        raise UserError(f"{path}: the file is empty")
    return text


def sha256(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
