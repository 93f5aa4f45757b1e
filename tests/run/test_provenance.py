"""What a run records about where it began."""

import subprocess

from metarl_run.run import provenance as module
from metarl_run.run.provenance import provenance, repository


def git(*arguments):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True)


def test_the_commit_and_whether_all_is_committed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert repository() is None
    git("init", "-q")
    assert repository() is None  # no commit yet
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "first")
    (tmp_path / "untracked").write_text("")
    found = repository()
    assert found["clean"] and len(found["commit"]) == 40
    (tmp_path / "a").write_text("2")
    assert repository() == {"commit": found["commit"], "clean": False}


def test_a_machine_without_git_and_a_secret(monkeypatch):
    monkeypatch.setattr(module, "GIT", ("no-such-git",))
    monkeypatch.setattr(module.sys, "argv", ["metarl-run", "seed=1", "x.api_key=abcdefgh"])
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    found = provenance("joblib")
    assert found["git"] is None and found["scheduler"]["SLURM_JOB_ID"] == "17" and found["launcher"] == "joblib"
    assert "abcdefgh" not in found["command"] and found["command"].startswith("metarl-run seed=1 ")
    assert provenance("ray", ["-m", "seed=0,1"])["command"] == "metarl-run -m seed=0,1"  # of a job elsewhere
