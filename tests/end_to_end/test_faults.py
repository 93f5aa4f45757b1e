"""A draw of what scripts/studies/fault_loop examines: operations on files fail, or are the moments of kills."""

import os
import sys

from black_box import ROOT, ended


def test_a_run_whose_disk_fails_or_that_is_killed_says_so_and_goes_on(tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, sys.path)])
    loop = [sys.executable, str(ROOT / "scripts" / "studies" / "fault_loop.py"), "--count", "8", "--seed", "0"]
    done = ended(loop, tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("8 of 8 cases right")
