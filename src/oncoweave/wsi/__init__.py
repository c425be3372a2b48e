"""Slides to tiles: readers, geometry, tissue, quality, tiling, stain."""
