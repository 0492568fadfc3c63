"""Who answers: prompt token ids in, the first token and then the rest out."""
