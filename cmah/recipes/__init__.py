"""Recipes: one published method per file; the interface is `recipe.Recipe`, names are resolved by `resolving`."""
