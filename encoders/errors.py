"""The errors of latefold: one class per cause, each with a stable `code` and a process exit status.

A message names the thing, the cause and the way out. The service maps classes to exit codes and HTTP statuses in
one table each; nothing else inspects error texts.
"""

from __future__ import annotations


class LatefoldError(Exception):
    """Base of every error that latefold raises on purpose."""

    code = "error"


class InvalidInputError(LatefoldError, ValueError):
    """A value handed in by the caller is unusable (empty query, k out of range, NUL bytes, bad filter)."""

    code = "invalid_input"


class InvalidEmbeddingsError(InvalidInputError):
    """Token embeddings with a wrong shape, a wrong dimension, or NaN or infinite values."""

    code = "invalid_embeddings"


class InvalidFilterError(InvalidInputError):
    """A metadata filter that is not of the documented grammar or exceeds its limits."""

    code = "invalid_filter"


class DuplicateDocumentError(InvalidInputError):
    """`add` met a document id that is already present; `upsert` replaces it instead."""

    code = "duplicate_document"


class DocumentNotFoundError(LatefoldError, KeyError):
    """No live document has this id."""

    code = "document_not_found"

    def __str__(self) -> str:  # KeyError shows the repr of its argument
        return str(self.args[0]) if self.args else ""


class IndexNotFoundError(LatefoldError, FileNotFoundError):
    """The path holds no latefold index."""

    code = "index_not_found"


class IndexExistsError(LatefoldError, FileExistsError):
    """The path is taken: by an index, or by files that are not ours to touch."""

    code = "index_exists"


class IndexLockedError(LatefoldError):
    """Another writer holds the index; the message names its process."""

    code = "index_locked"


class IndexCorruptedError(LatefoldError):
    """Stored bytes differ from their checksum, size or header; the message names the file."""

    code = "index_corrupted"


class FormatVersionError(LatefoldError):
    """The index was written in a format that this version does not read."""

    code = "format_version"


class StorageError(LatefoldError, OSError):
    """The operating system refused a write (disk full, no permission); what was stored before is intact."""

    code = "storage"


class EncoderMismatchError(LatefoldError):
    """The encoder at hand is not the one that built the index; the message names both."""

    code = "encoder_mismatch"


class EncoderError(LatefoldError):
    """An encoder cannot be loaded, or its files differ from their checksums."""

    code = "encoder"


class ScorerError(LatefoldError):
    """A scorer of pairs cannot be loaded, or answered with something other than one finite number a pair."""

    code = "scorer"


class CallBudgetError(LatefoldError):
    """More pairs were handed to a scorer than its budget allows; none of them was scored."""

    code = "call_budget"


class ScoreCacheError(LatefoldError):
    """The file of remembered scores is damaged or is no such file; the message names it."""

    code = "score_cache"


class MissingExtraError(LatefoldError, ImportError):
    """An optional dependency is absent; the message gives the install command."""

    code = "missing_extra"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional part: pip install 'latefold[{extra}]'")
