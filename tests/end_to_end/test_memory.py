"""A batch that does not fit in memory: told with the keys that set its size; parts of it fit."""

from black_box import COMMAND, SMALL, ended, summary

LARGE = ("meta_iterations=1", "validate_every=0", "meta_batch_size=100", "episodes_per_task=20", "env.horizon=100")
ROOM = 500_000
"""KiB of data: the command alone takes 270 000, with the graph of the large batch 690 000, with a part's 350 000."""


def call_with_room(*arguments, cwd):
    """Run the command where no more memory for data than `ROOM` KiB is to be had."""
    room = ["sh", "-c", f'ulimit -d {ROOM}; exec "$@"', "sh"]
    return ended([*room, *COMMAND, *SMALL, "hydra.run.dir=run", *arguments], cwd)


def assert_told(done, folder):
    assert done.returncode == 5, done.stderr
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: memory: ran out: tried to allocate ")
    assert hint.startswith("hint: smaller meta_batch_chunk, meta_batch_size, episodes_per_task, env.horizon or ")
    assert summary(folder)["error"]["exit_code"] == 5
    assert not list(folder.glob("crash-*"))


def test_a_batch_beyond_all_memory_names_the_keys_that_set_its_size(tmp_path):
    """Two gigabytes: the machine has them, this process may not."""
    assert_told(call_with_room("meta_batch_size=2000000", cwd=tmp_path), tmp_path / "run")


def test_a_graph_that_does_not_fit_is_told_and_parts_of_it_fit(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    assert_told(call_with_room(*LARGE, cwd=whole), whole / "run")
    done = call_with_room(*LARGE, "meta_batch_chunk=10", cwd=parts)
    assert done.returncode == 0, done.stderr
    assert summary(parts / "run")["status"] == "complete"
