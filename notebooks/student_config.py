"""The student's version of a lesson: solutions and outputs out. Needs nbconvert and nbgrader, which does the work.

    pip install nbconvert nbgrader
    cd notebooks
    jupyter nbconvert --to notebook --config student_config.py --output-dir do read/*.ipynb

What stands between the lines BEGIN SOLUTION and END SOLUTION of notebooks/read becomes ``mine = ...``: so what is
to be filled in has to be called ``mine``, in cells of your own, too.
"""

c = get_config()
c.NotebookExporter.preprocessors = [
    "nbgrader.preprocessors.ClearSolutions",
    "nbconvert.preprocessors.ClearOutputPreprocessor",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
]
c.ClearSolutions.code_stub = {"python": "mine = ..."}
c.ClearSolutions.enforce_metadata = False  # a whole class is graded by aw.teach.collect, not by nbgrader
c.ClearMetadataPreprocessor.preserve_nb_metadata_mask = {"kernelspec", "language_info"}
c.ClearMetadataPreprocessor.preserve_cell_metadata_mask = {"tags"}
