"""Starting, resuming and adopting a run, the training loop, and what only training needs."""
