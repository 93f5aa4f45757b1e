"""Agents of the Python API as a run's configuration makes them, not trained."""

import functools

import torch
from suited import suited

from metarl_run.api.agent import Agent
from metarl_run.config.plan import Plan
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams


@functools.cache
def built(*arguments):
    point, _ = suited("experiment=smoke", *arguments)
    streams = Streams(0, torch.device("cpu"))
    return Plan(point.config, point.choices, []), *build_agent(point.config, streams)


def agent_of(*arguments):
    plan, family, algo = built(*arguments)
    return Agent(algo, family, Streams(0, torch.device("cpu")), plan)
