"""Programs that measure; every claim in docs/performance.md is the output of one of them."""
