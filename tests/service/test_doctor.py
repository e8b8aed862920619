"""The checks of `doctor`: this machine passes, and each failure comes with a fix."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from latefold.encoders import model_folder
from latefold.service import doctor

NAMES = [
    *("python", "libraries", "cpu", "kernel cache", "sqlite", "bundled encoder", "ocr", "disk space"),
    "temporary space",
]


def test_this_machine_passes(tmp_path):
    checks = list(doctor.run_checks(tmp_path))
    assert [check.name for check in checks] == [*NAMES, *(f"extra {name}" for name in doctor.OPTIONAL)]
    assert [check.to_dict() for check in checks if check.status == "fail"] == []


def test_a_damaged_model_file_fails(tmp_path, monkeypatch):
    shutil.copytree(model_folder.MODELS / "minilm", tmp_path / "minilm")
    tokenizer = tmp_path / "minilm" / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes()[:-1])
    monkeypatch.setattr(model_folder, "MODELS", tmp_path)
    check = doctor.check_model()
    assert check.status == "fail"
    assert "tokenizer.json" in check.detail
    assert check.fix


@pytest.mark.parametrize("installed", ["0.1", None])
def test_an_old_or_absent_library_fails(monkeypatch, installed):
    real = doctor.version

    def version(name):
        if name != "numpy":
            return real(name)
        if installed is None:
            raise doctor.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(doctor, "version", version)
    check = doctor.check_libraries()
    assert check.status == "fail"
    assert "numpy" in check.detail
    assert "pip install" in check.fix


def test_an_absent_extra_is_no_failure(monkeypatch):
    def version(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", version)
    check = doctor.check_extra("models")
    assert check.status == "ok"
    assert check.fix == "pip install 'latefold[models]'"


def test_little_space_warns(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(total=10, used=9, free=1))
    check = doctor.check_space("disk space", tmp_path / "not" / "yet")
    assert check.status == "warn"
    assert str(tmp_path) in check.detail
