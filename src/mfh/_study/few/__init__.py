"""Few labels, many pairs: teachers of both modalities, stacked, teach students on every pair.

All labels train, none serves validation alone: what must be chosen is chosen by out-of-fold outputs.
"""
