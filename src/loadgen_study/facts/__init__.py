"""The facts of a run as they lie in its folder: one typed record for each JSON file.

``inputs`` is what was measured on what, ``results`` the figures of its tests, ``scores`` what the
answers are worth. Everybody may import from here; nothing here computes anything.
"""
