"""Optuna's journal in a file that one process writes: the output directory of a sweep is locked as a whole.

Records are appended in one write each and stay when the process is killed. They are not forced to the
disk one by one (17 thousand times in 800 trials): a power cut may lose the last seconds, and what the
lost records said is then done again, with the same outcome.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from lutscape.hw.errors import UserError


class SingleWriterJournal(BaseJournalBackend):
    """A journal of JSON lines, kept in memory too.

    A last line cut short by a kill is dropped: what it was to record is done again.

    Raises:
        UserError: a line that is not JSON.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._logs: list[dict[str, Any]] = []
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                self._logs.append(json.loads(line))
            except ValueError:
                raise UserError(
                    f"{path}:{number}: not a journal record; the file is damaged: begin again in another directory"
                ) from None
        if whole < len(data):
            with open(path, "r+b") as file:
                file.truncate(whole)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the records from a number on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records: to the file first."""
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        with open(self._path, "ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
        self._logs += [json.loads(line) for line in lines]
