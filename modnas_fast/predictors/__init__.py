"""MetaPredictors of cost: additive and graph networks."""
