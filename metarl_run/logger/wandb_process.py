"""The process in which Weights & Biases runs, isolated from the run.

`metarl_run.logger.wandb` starts it by the path of this file; it imports nothing of metarl_run. It reads messages from
standard input, one JSON object per line, and answers likewise on the file descriptor given as its argument. The end of
its input means that the run has ended: then it saves its data and exits.
"""

import json
import os
import queue
import secrets
import signal
import sys
import threading
from typing import Any, TextIO

import wandb


def main() -> None:
    os.nice(10)  # training comes first
    answers = os.fdopen(int(sys.argv[1]), "w", buffering=1, encoding="utf-8")
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    opening = json.loads(sys.stdin.readline())
    threading.Thread(target=read, args=(orders, opening["timeout"]), daemon=True).start()
    run = begin(opening, answers)
    if run is None:
        send(answers, done=True)
        return
    send(answers, folder=run.settings.sync_dir, offline=run.offline, url=run.url, id=run.id)
    while (order := orders.get())["do"] == "log":
        run.log(order["row"])
    if order["do"] == "finish":
        for name, path in order["pictures"].items():
            kind = wandb.Image if path.endswith(".png") else wandb.Video
            run.log({name: kind(path)})
        run.log({"adaptation_table": wandb.Table(columns=order["columns"], data=order["data"])})
        run.summary.update(order["summary"])
    run.finish(exit_code=0 if order["do"] == "finish" else 1)
    wandb.teardown()
    send(answers, done=True)


def read(orders: queue.SimpleQueue[dict[str, Any]], timeout: float) -> None:
    """Queue the messages as they arrive; once the run has ended, exit within `timeout` seconds."""
    for line in sys.stdin:
        orders.put(json.loads(line))
    orders.put({"do": "leave"})
    signal.setitimer(signal.ITIMER_REAL, timeout)


def begin(order: dict[str, Any], answers: TextIO) -> wandb.Run | None:
    """Start a wandb run: online if requested and possible, else offline; None where `wandb disabled` was called."""
    settings = wandb.Settings(
        console="off",
        silent=True,
        # Half of the timeout, so that falling back to offline mode still ends in time.
        init_timeout=order["timeout"] / 2,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    mode, arguments = order["mode"], order["arguments"]
    if mode == "auto":  # unless a command like `wandb disabled` left something else here
        chosen = str(wandb.setup().settings.mode)
        if chosen == "disabled":
            return None
        mode = "offline" if chosen in ("offline", "dryrun") else mode
    run = None
    if mode != "offline":
        try:
            if wandb.login(prompt=False, verify=False):
                run = wandb.init(mode="online", settings=settings, **arguments)
            elif mode == "online":
                send(answers, warning="no credentials, so it stays offline; `wandb login` stores them")
        except (wandb.errors.Error, OSError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            send(answers, warning=f"going offline: {first}")
            arguments["id"] = secrets.token_hex(4)  # the other one is in use now
    if run is None:
        run = wandb.init(mode="offline", settings=settings, **arguments)
    run.define_metric("iteration", hidden=True)
    for name in ("meta_train/*", "meta_validation/*", "time/*", "env_steps"):
        run.define_metric(name, step_metric="iteration")
    run.define_metric("meta_test/*", step_metric="meta_test/episodes_seen")
    return run


def send(answers: TextIO, **answer: Any) -> None:
    try:
        print(json.dumps(answer), file=answers)
    except BrokenPipeError:
        return  # the run has ended


if __name__ == "__main__":
    main()
