"""The table of exit codes is complete and documented."""

from __future__ import annotations

from latefold.encoders.errors import EncoderError, InvalidInputError, LatefoldError
from latefold.service import exit_codes
from latefold.service.cli.app import EXIT_CODES as HELP_TEXT


def _subclasses(cls):
    return {cls}.union(*(_subclasses(sub) for sub in cls.__subclasses__()))


def test_every_error_class_has_an_exit_code():
    declared = {cls for cls in _subclasses(LatefoldError) if cls.__module__.startswith("latefold.")}
    assert declared == set(exit_codes.EXIT_CODES)


def test_codes_are_distinct_but_for_bad_input_and_never_success():
    codes = [code for cls, code in exit_codes.EXIT_CODES.items() if not issubclass(cls, InvalidInputError)]
    others = [exit_codes.USAGE, exit_codes.SOME_FILES_FAILED, exit_codes.INTERRUPTED, exit_codes.BROKEN_PIPE]
    assert len(set(codes + others)) == len(codes) + len(others)
    assert exit_codes.OK not in exit_codes.EXIT_CODES.values()
    assert all(0 < code < 128 for code in exit_codes.EXIT_CODES.values())


def test_an_error_of_a_later_class_falls_back_to_its_base():
    class SpecialError(EncoderError):
        code = "special"

    assert exit_codes.exit_code(SpecialError("x")) == exit_codes.EXIT_CODES[EncoderError]


def test_help_names_every_code():
    for code in {*exit_codes.EXIT_CODES.values(), exit_codes.SOME_FILES_FAILED, exit_codes.INTERRUPTED}:
        assert f" {code} " in HELP_TEXT
