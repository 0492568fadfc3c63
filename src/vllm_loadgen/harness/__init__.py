"""Who asks and writes down: LoadGen, the SUT, and the process that hosts both.

``session`` is the caller's end and ``worker`` the other end of a pipe that carries ``messages``;
the worker runs ``loadgen`` against ``sut`` with an engine behind it, keeps ``records`` and
``telemetry``, and reads LoadGen's logs with ``log``.
"""
