"""Helpers of the tests; no tests. Test modules import from here and from no other test module."""
