"""Results as data: one CSV file per study, and the numbers in the documents rendered from these files.

``python -m results export`` writes ``results/*.csv``; ``python -m results render`` (``make results``) rewrites the
generated parts of the documents and redraws their figures.
"""
