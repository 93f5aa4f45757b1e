"""Reader of a policy that metarl-run exported. It needs torch and nothing else: copy it wherever it is used.

policy = Policy("policy.pt2")
observation, _ = env.reset()
while True:
    observation, reward, terminated, truncated, _ = env.step(policy.act(observation))
    policy.observe(reward, terminated, truncated)
"""

import json
import warnings
from typing import Any

import torch

RECORD = "metarl_run.json"
"""Name of the entry in the file that describes the policy."""


class Policy:
    """One environment's policy as it was when it was exported; one with a memory goes on to adapt by it.

    Args:
        path: the exported file.
        seed: of random actions.
    """

    def __init__(self, path: str, *, seed: int = 0) -> None:
        record = {RECORD: ""}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parameters are constants of the program
            self.program = torch.export.load(path, extra_files=record).module()
        self.about: dict[str, Any] = json.loads(record[RECORD])
        self.generator = torch.Generator().manual_seed(seed)
        self.start()

    def start(self) -> None:
        """Go back to where it was when it was exported."""
        self.memory = {name: _tensor(kept) for name, kept in self.about["memory"].items()}
        self.last = [_tensor(kept) for kept in self.about["last"]]

    def act(self, observation: Any, *, greedy: bool = False) -> Any:
        """The next action: a whole number, or an array.

        Args:
            observation: of the environment.
            greedy: the most probable action instead of a random one.
        """
        with torch.inference_mode():
            x = torch.as_tensor(observation, dtype=torch.float32).reshape(1, 1, -1)
            size = self.about["noise"]
            noise = torch.zeros(1, 1, size)
            if self.about["discrete"] and not greedy:
                noise = torch.empty(1, 1, size).uniform_(generator=self.generator).log_().neg_().log_().neg_()
            elif not greedy:
                noise = torch.randn(1, 1, size, generator=self.generator)
            chosen, action, self.memory = self.program(x, noise, *self.last, self.memory)
            self.last[0] = chosen
        return int(action) if self.about["discrete"] else action.flatten().numpy()

    def observe(self, reward: float, terminated: bool, truncated: bool) -> None:
        """What came of the action; policies without a memory do not need it."""
        self.last[1] = torch.full((1, 1), float(reward))
        self.last[2] = torch.full((1, 1), bool(terminated or truncated))


def _tensor(kept: dict[str, Any]) -> torch.Tensor:
    return torch.tensor(kept["values"], dtype=getattr(torch, kept["dtype"])).reshape(kept["shape"])
