"""Keeps calls safe and gives each to one worker at a time. Knows no function and speaks no HTTP."""
