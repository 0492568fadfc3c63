"""MLPerf's rules: how far a run is from an official one, TEST06, published results.

``conformance`` holds each rule once, in the report's words and in the submission checker's
(``rule``); ``verdict`` says what LoadGen's verdict is worth; ``loadgen_study.benchmarks`` has the
figures that differ by benchmark.
"""
