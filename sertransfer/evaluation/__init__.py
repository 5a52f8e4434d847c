"""Statistics of decisions and scores: intervals, significance and calibration, without audio or models."""
