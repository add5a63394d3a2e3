"""Training: recipes, tasks, the loop and its state. `recipe`, `scores` and `evaluate` do without PyTorch."""
