"""The same work as users of JAX, gymnax or gymnasium would write it: jitted, vmapped, one fused scan over time."""
