"""`doctor`."""

from __future__ import annotations

from latefold.service import doctor


def test_doctor_json(cli):
    done = cli("doctor", "--json")
    assert (done.code, done.json["ok"]) == (0, True)
    assert all(check.keys() == {"name", "status", "detail", "fix"} for check in done.json["checks"])


def test_a_failed_check_gives_exit_code_1_and_a_fix(cli, monkeypatch):
    monkeypatch.setattr(doctor, "check_sqlite", lambda: doctor.Check("sqlite", "fail", "no FTS5", "another Python"))
    done = cli("doctor")
    assert done.code == 1
    assert "FAIL  sqlite" in done.out
    assert "another Python" in done.out
