"""Small image classifiers in numpy and numba: data, layers, Adam, and the stages that make them vector-quantised."""
