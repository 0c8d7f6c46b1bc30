"""Export runs to one CSV file per study, and generate the numbers in the documents from these files.

``python -m results export`` writes ``results/*.csv``.  ``python -m results render`` (``make results``) updates the
generated parts of the documents and their figures.
"""
