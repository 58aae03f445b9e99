"""The exceptions of the library, with what a program needs of each as attributes.

The compiled core raises them, and so do parts in Python.
"""

from __future__ import annotations


class BudgetError(ValueError):
    """A budget below the least that the method can reach.

    Attributes:
        method: The method's name; None if several are meant.
        budget: The budget in bytes.
        floor: The least bytes that can be reached.
    """

    __module__ = "embedcompress"

    def __init__(
        self, message: str = "", *, method: str | None = None, budget: int | None = None, floor: int | None = None
    ) -> None:
        super().__init__(message)
        self.method = method
        self.budget = budget
        self.floor = floor


class FormatError(ValueError):
    """A file, or parts, that are not a valid table.

    Attributes:
        rule: The rule that is broken, such as "header_too_large": a stable name, one for each rule.
        path: The file; None for parts in memory, and for what only a lookup finds.
    """

    __module__ = "embedcompress"

    def __init__(self, message: str = "", *, rule: str | None = None, path: str | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        self.path = path


class InvalidIdError(IndexError):
    """An id outside [0, rows).

    Attributes:
        id: The id.
        position: Where it stands among the ids of the call, flattened.
        feature: The feature that looks it up in a call on several tables; None elsewhere.
        rows: Rows of the table.
    """

    __module__ = "embedcompress"

    def __init__(
        self,
        message: str = "",
        *,
        id: int | None = None,
        position: int | None = None,
        feature: int | None = None,
        rows: int | None = None,
    ) -> None:
        super().__init__(message)
        self.id = id
        self.position = position
        self.feature = feature
        self.rows = rows
