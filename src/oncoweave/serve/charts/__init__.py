"""Charts of the report: pure functions from rows to SVG text, coloured by the style of the page they stand in."""
