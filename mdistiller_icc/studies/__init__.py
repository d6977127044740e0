"""Many runs: the tables of the literature, sweeps of a setting, and what trained networks' feature spaces look like.

- ``reproduce``, ``sweep``, ``analyze``: the command lines;
- ``table``: what a table says; ``table_file``: its YAML, read and checked; ``plan``: the runs it takes;
- ``state``, ``estimate``: how far they are, and what the rest will take, from past records;
- ``study``: a table's runs, told or made; ``local``, ``on_ray`` make them, ``execute`` one of them; ``watch`` looks on;
- ``analyses``: what a table asks for in the end, worked out by ``feature_spaces``, and from ``results`` by
  ``convergence``, ``pareto`` and ``curves``.
"""
