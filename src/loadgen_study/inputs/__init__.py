"""What is measured, on what: the model, the data, the machine and its software.

``models`` turns a name into a checkpoint, ``data`` a name into prompts, ``environment`` and
``machine`` describe where they run. Each ends in a record of ``loadgen_study.facts.inputs``.
"""
