"""Offline training and evaluation of the served models. Services do not import it, except that the learner imports
`training.ranking`.
"""
