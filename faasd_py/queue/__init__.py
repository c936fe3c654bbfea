"""The book-keeper: keeps calls safe, gives each to one worker at a time. Knows no function and speaks no HTTP."""
