"""The same work as a user of JAX, gymnax or gymnasium would write it: jitted, vmapped, one fused scan over time."""
