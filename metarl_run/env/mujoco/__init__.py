"""Task families on MuJoCo's physics: what they share. The families themselves are modules of `metarl_run.env`."""
