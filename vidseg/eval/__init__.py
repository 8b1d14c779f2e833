"""Metrics, data sets, leaderboard protocols, benchmarks, reports."""
