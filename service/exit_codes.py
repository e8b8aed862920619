"""What the process tells its caller: one exit code per cause, documented here and in `latefold --help`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..encoders.errors import (
    CallBudgetError,
    DocumentNotFoundError,
    DuplicateDocumentError,
    EncoderError,
    EncoderMismatchError,
    FormatVersionError,
    IndexCorruptedError,
    IndexExistsError,
    IndexLockedError,
    IndexNotFoundError,
    InvalidEmbeddingsError,
    InvalidFilterError,
    InvalidInputError,
    LatefoldError,
    MissingExtraError,
    ScoreCacheError,
    ScorerError,
    StorageError,
)

OK = 0
FAILURE = 1
"""An error without a class of its own, or a failed check of `doctor`."""
USAGE = 2
"""Wrong options, or a value that cannot be used: the caller has to change the command."""
SOME_FILES_FAILED = 20
"""`index` finished and everything readable is searchable, but some files could not be read."""
INTERRUPTED = 130
"""Ctrl-C (128 + SIGINT)."""
BROKEN_PIPE = 141
"""The reader of our output went away (128 + SIGPIPE), as in `latefold search ... | head -1`."""

EXIT_CODES: Mapping[type[LatefoldError], int] = MappingProxyType(
    {
        LatefoldError: FAILURE,
        InvalidInputError: USAGE,
        InvalidEmbeddingsError: USAGE,
        InvalidFilterError: USAGE,
        DuplicateDocumentError: USAGE,
        DocumentNotFoundError: 3,
        IndexNotFoundError: 4,
        IndexExistsError: 5,
        IndexLockedError: 6,
        IndexCorruptedError: 7,
        FormatVersionError: 8,
        StorageError: 9,
        EncoderMismatchError: 10,
        EncoderError: 11,
        MissingExtraError: 12,
        ScorerError: 13,
        CallBudgetError: 14,
        ScoreCacheError: 15,
    }
)


def exit_code(error: LatefoldError) -> int:
    """Exit code of an error: that of its class, or of the nearest base class in the table."""
    return next(EXIT_CODES[cls] for cls in type(error).__mro__ if cls in EXIT_CODES)
