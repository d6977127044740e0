"""Studies: a table of the literature, as a small YAML, planned and run on this machine or on Ray.

- ``table``: read and check a table's file;
- ``plan``: the runs it takes, teachers before students, and how far each of them is;
- ``estimate``: what they will take, from past records;
- ``local``, ``on_ray``: the two engines that run them; ``worker`` is the process of the first.
"""
