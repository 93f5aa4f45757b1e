from collections.abc import Sequence

from metarl_run.api.agent import Agent as Agent
from metarl_run.api.agent import load as load
from metarl_run.api.result import Comparison as Comparison
from metarl_run.api.result import Result as Result
from metarl_run.api.result import Sweep as Sweep
from metarl_run.api.result import compare as compare
from metarl_run.api.result import read as read

__version__: str

def run(arguments: Sequence[str], *, show: bool = True) -> Result | Sweep: ...
