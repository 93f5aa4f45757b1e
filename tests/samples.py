"""Results as a run leaves them, for tests of what is made of them."""

CURVE = {
    "adaptation_step": [0, 1],
    "episodes_seen": [0.0, 20.0],
    "env_steps_seen": [0.0, 620.0],
    "mean": [31.0, 194.0],
    "iqm": [30.0, 195.0],
    "low": [28.0, 190.0],
    "high": [34.0, 197.0],
}
EXACT_CURVE = {**CURVE, "expected": [30.5, 193.0], "optimum": [200.0, 200.0]}
