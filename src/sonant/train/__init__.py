"""Training: recipes, tasks, the loop and its state. `recipe` and `scores` do without PyTorch."""
