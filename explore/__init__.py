"""Spaces, sweeps, Optuna studies, Pareto fronts, the result store and every HTML report."""
