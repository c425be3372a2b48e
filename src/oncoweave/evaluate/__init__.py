"""Pure functions on prediction tables: discrimination, survival, calibration, intervals, comparisons. No torch."""
