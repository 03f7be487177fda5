"""The search: the bilevel loop, the refinement, the spread of networks that w is trained on, history."""
