"""How errors look over HTTP: one table from library error to status, one shape of body."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import HTTPException, RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...encoders import errors as library
from ...encoders.errors import LatefoldError

logger = logging.getLogger("latefold.http")

MAX_MESSAGE_CHARACTERS = 1_000
RETRY_AFTER = {"retry-after": "1"}


class Problem(HTTPException):
    """An answer other than success: HTTP status, stable code, and a sentence that is safe to show."""

    def __init__(self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code = code

    def response(self, request_id: str) -> Response:
        """The answer with the body `{"error": {"code", "message", "request_id"}}`."""
        message = str(self.detail)[:MAX_MESSAGE_CHARACTERS]
        error = {"code": self.code, "message": message, "request_id": request_id}
        content = json.dumps({"error": error}).encode("ascii")  # escapes lone surrogates, which UTF-8 cannot carry
        return Response(content, self.status_code, dict(self.headers or {}), "application/json")


@dataclass(frozen=True)
class Rule:
    """Status of a library error, and the sentence to show where its own would reveal the server's files."""

    status: int
    public: str | None = None
    retry: bool = False


ERRORS: Mapping[type[LatefoldError], Rule] = {
    library.InvalidInputError: Rule(422),
    library.InvalidEmbeddingsError: Rule(422),
    library.InvalidFilterError: Rule(422),
    library.DuplicateDocumentError: Rule(409),
    library.DocumentNotFoundError: Rule(404),
    library.IndexNotFoundError: Rule(404, "no such collection; GET /v1/collections lists what is served"),
    library.IndexExistsError: Rule(409, "the name is taken on the server"),
    library.IndexLockedError: Rule(503, "another process is writing to this collection; try again", retry=True),
    library.IndexCorruptedError: Rule(500, "stored data of this collection are damaged; see the server's log"),
    library.FormatVersionError: Rule(500, "this collection has a format the server cannot read; see its log"),
    library.StorageError: Rule(507, "the server cannot store this (disk full?); nothing was changed"),
    library.EncoderMismatchError: Rule(500, "the server's encoder did not build this collection; see its log"),
    library.EncoderError: Rule(500, "the encoder of this collection cannot be used; see the server's log"),
    library.ScorerError: Rule(500, "the server's scorer cannot be used; see its log"),
    library.CallBudgetError: Rule(500, "the server's budget of scorer calls is spent; see its log"),
    library.ScoreCacheError: Rule(500, "the server's file of scores is damaged; see its log"),
    library.MissingExtraError: Rule(500, "an optional part is not installed on the server; see its log"),
}
_UNKNOWN = Rule(500, "the request failed; see the server's log")


def rule_of(error: type[LatefoldError]) -> Rule:
    """The rule of a library error class, or of its nearest base that has one."""
    return next((ERRORS[cls] for cls in error.__mro__ if cls in ERRORS), _UNKNOWN)


def problem_of(error: Exception, request_id: str) -> Problem:
    """Turn any exception into what the client may see; what is withheld goes to the log under `request_id`."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, LatefoldError):
        return _library_problem(error, request_id)
    if isinstance(error, RequestValidationError):
        return _validation_problem(error.errors())
    if isinstance(error, StarletteHTTPException):
        status = HTTPStatus(error.status_code)
        code = status.phrase.lower().replace(" ", "_")
        return Problem(status, code, str(error.detail), headers=error.headers)
    logger.error("unexpected error, request %s", request_id, exc_info=error)
    return Problem(500, "internal", "unexpected error; the server's log has it under this request id")


def _library_problem(error: LatefoldError, request_id: str) -> Problem:
    rule = rule_of(type(error))
    if rule.public is not None:
        logger.warning("%s, request %s: %s", error.code, request_id, error)
    headers = RETRY_AFTER if rule.retry else None
    return Problem(rule.status, error.code, rule.public or str(error), headers=headers)


def _validation_problem(errors: Sequence[Any]) -> Problem:
    """First few violations as "field: reason"; never the values, which may be secret or huge."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem(400, "malformed_json", "the body is not valid JSON")
    reasons = [f"{'.'.join(str(part)[:64] for part in error['loc'])}: {error['msg']}" for error in errors[:3]]
    more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""
    return Problem(422, "invalid_request", "; ".join(reasons) + more)


async def handle(request: Request, error: Exception) -> Response:
    """The exception handler of the app."""
    request_id: str = request.scope["state"]["request_id"]
    return problem_of(error, request_id).response(request_id)
