"""`python -m metarl_run` is the command `metarl-run`."""

from metarl_run.cli.command import main

if __name__ == "__main__":
    main()
