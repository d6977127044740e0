"""The commands of ``mdistiller-icc`` that work on what was trained: eval, export, collect; `entry` knows them all."""
