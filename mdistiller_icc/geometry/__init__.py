"""What a teacher's feature space and soft labels look like: distances, spread, margins, t-SNE, reports.

- ``distances``: intra- and inter-class distance from class sums, cheap enough for every epoch;
- ``margins``: how far the true class leads;
- ``soft_labels``: entropy, and the share of the variance that lies within classes;
- ``report``: `analyse` any number of teachers and `save` the comparison;
- ``tsne``, ``pictures``, ``theory``: drawings, which need ``pip install 'mdistiller_icc[analysis]'``.
"""
