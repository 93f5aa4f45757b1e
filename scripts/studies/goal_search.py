"""Best plans of goal searches that have too many states for a run; writes metarl_run/maths/goal_search_plans.py.

Every state is looked at, none is pruned, so the plans are exact. Prints the Bayes-optimal return of a lifetime of each.
"""

import argparse
import resource
import time
from pathlib import Path

from metarl_run.env.standalone import make_family
from metarl_run.maths.goal_search import best_plans
from metarl_run.maths.goal_search_plans import PLANS

FAMILIES = (("gridworld", 4), ("darkroom", 40), ("darkroom_ad", 40))
"""Options of `env` with their own numbers, and episodes of the lifetime that is printed."""

FILE = Path(__file__).parents[2] / "metarl_run/maths/goal_search_plans.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=40, help="of the longest lifetime")
    episodes = parser.parse_args().episodes
    kept = FILE.read_text(encoding="utf-8")
    head, tail = kept.split("= {")[0], kept.split("}\n", 1)[1]
    entries = []
    for option, shown in FAMILIES:
        begun = time.process_time()
        search = make_family(option).search  # type: ignore[attr-defined]
        plans = best_plans(search, episodes, most_states=2**60)
        fields = [(plan.found, plan.costs, plan.complete) for plan in plans]
        entries.append(f"    {search.key!r}: {tuple(fields)!r},  # {option}\n")
        FILE.write_text(f"{head}= {{\n{''.join(entries)}}}\n{tail}", encoding="utf-8")
        seconds, memory = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{option}: complete after {len(plans)} episodes, {seconds:.0f} CPU seconds, {memory:.1f} GiB")
        PLANS[search.key] = tuple(fields)
        returns = make_family(option).bayes_optimal_returns(shown)
        print(f"  {shown} episodes: {sum(returns or ()):.6f}", [round(x, 4) for x in (returns or ())[:4]])


if __name__ == "__main__":
    main()
