"""The report: notebooks executed and rendered, and every figure, sentence and table in them.

``make`` executes and renders; ``parameters`` reads a notebook's cell; ``sections`` puts a report
together from ``text``, ``tables`` and the plots, all of them made of a ``results.Run``.
"""
