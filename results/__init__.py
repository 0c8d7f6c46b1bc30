"""Results as data: one CSV file per study, exported from a store, and the documents' numbers made from these files.

``python -m results export`` writes ``results/*.csv``; ``python -m results render`` (``make results``) rewrites the
generated parts of the documents and redraws their figures.
"""
