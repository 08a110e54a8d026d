"""The shopper model: a vector of every product and of what a person did, of which the dot product says what comes next.

`data` reads log and catalogue, `train` fits the network, `export` writes the version folder that the ranker serves,
`weights` fits the weighted sum that combines it with the other signals, `report` writes what came out.
"""
