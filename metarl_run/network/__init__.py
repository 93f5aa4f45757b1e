"""Networks: pure functions of parameters that may carry a leading task axis."""
