"""A bounded fuzzer of the public API: `python -m tests.fuzz --minutes 60`.

Each case is a function of its number: `python -m tests.fuzz --case NUMBER` repeats one. Cases that found a defect are
kept in seeds.txt as bytes, and are repeated at the start of every run.
"""
