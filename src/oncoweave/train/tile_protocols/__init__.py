"""Tile-level protocols: what an encoder's embeddings of labelled tiles are good for, beside controls that have learnt nothing."""
