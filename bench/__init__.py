"""What the gateway costs, measured beside a bare pass-through. `docs/benchmarks.md` tells more."""
