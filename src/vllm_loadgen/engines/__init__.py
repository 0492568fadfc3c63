"""Who answers: prompt token ids in, the first token and then the rest out.

An engine is a subclass of ``base.Engine``; ``traits.engines`` knows them by name.
"""
