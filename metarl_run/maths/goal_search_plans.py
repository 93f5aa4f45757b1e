"""Best plans of searches with too many states to look through during a run, from scripts/studies/goal_search."""

PLANS: dict[str, tuple[tuple[tuple[tuple[int, ...], ...], tuple[int, ...], bool], ...]] = {
    "efdde92a62588283": (
        (((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13),), (119,), False),
        (((3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19), (0, 1, 2, 5, 10, 15, 20)), (119, 112), True),
    ),  # gridworld
    "e69fc827cdfd7056": (
        (((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19),), (400,), True),
    ),  # darkroom
    "7b0f03eeaaafa9ec": (
        (((0, 1, 2, 4, 7, 8, 10, 13, 14, 15),), (93,), False),
        (((0, 1, 2, 4, 7, 8, 10, 13, 14, 15), (5, 6, 9, 11, 12)), (93, 117), False),
        (((0, 1, 2, 4, 7, 8, 10, 13, 14, 15), (5, 6, 9, 11, 12), (3,)), (93, 117, 36), True),
    ),  # darkroom_ad
}
"""`Search.key` → for 1, 2, … episodes the fields of `metarl_run.maths.goal_search.Plan`; the last is complete."""
