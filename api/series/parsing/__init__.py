"""Files into tables of numbers, one module a format."""
